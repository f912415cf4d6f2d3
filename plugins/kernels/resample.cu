// Launchers of the unzoom and the zoom. A plain C++ compiler makes the host build of this file.
#include "lzu_kernels.h"
#include "resample.h"

namespace
{

using namespace lzu;

constexpr int kTHREADS = Resample<FloatUnit, 1>::kTHREADS;

// Block shapes. Which is best depends on the card and on the levels' sizes, so TensorRT may time them.
struct Shape
{
    int tileX;
    int tileY;
    int runLength; // outer groups per block
    bool wide;     // a thread stores 16 bytes of neighbouring cells at once, or 8 cells of one byte
};

// The height of a wide tile is that of units of 4 bytes; narrower ones, of which a thread takes more, have more rows.
// Narrow tiles suit levels of 25, 50 and 100 columns, of which wide ones leave a fifth of the threads without a cell.
constexpr Shape kPLANAR_SHAPES[]
    = {{32, 8, 32, false}, {32, 8, 8, false}, {64, 16, 8, true}, {16, 16, 64, false}, {8, 64, 16, false}};
// Of at least so many cells; with few channels a cell has few units, and the tile grows.
constexpr Shape kHWC8_SHAPES[] = {{8, 4, 1, false}, {16, 4, 1, false}, {8, 2, 1, false}};
constexpr Shape kCHW32_SHAPES[] = {{16, 8, 8, false}, {16, 8, 4, false}, {32, 8, 2, false}, {16, 16, 8, false}};

// Whether every thread of a block has an item, in the narrowest format that a shape serves.
template <int COUNT>
constexpr bool occupyAll(Shape const (&shapes)[COUNT], int inner)
{
    for (Shape const& shape : shapes)
    {
        int const cells = shape.tileX * shape.tileY / (shape.wide ? 4 : 1);
        if (cells * inner < kTHREADS || shape.tileX > kMAX_TILE || shape.tileY * (shape.wide ? 4 : 1) > kMAX_TILE
            || (shape.tileX & (shape.tileX - 1)) != 0)
        {
            return false;
        }
    }
    return true;
}

static_assert(occupyAll(kPLANAR_SHAPES, 1), "a thread of a block would have no item");
static_assert(occupyAll(kCHW32_SHAPES, 2), "a thread of a block would have no item");
static_assert(occupyAll(kHWC8_SHAPES, 16), "a thread of a block would have no item"); // 128 channels

struct Shapes
{
    Shape const* first;
    int count;
};

template <int COUNT>
Shapes listed(Shape const (&shapes)[COUNT])
{
    return {shapes, COUNT};
}

Shapes shapesOf(int format)
{
    switch (format)
    {
    case LZU_F16_HWC8: return listed(kHWC8_SHAPES);
    case LZU_I8_CHW32: return listed(kCHW32_SHAPES);
    default: return listed(kPLANAR_SHAPES);
    }
}

void setGroups(LevelPlan& level, int format)
{
    switch (format)
    {
    case LZU_F16_HWC8:
        level.outer = 1;
        level.inner = ceilDiv(level.channels, 8);
        break;
    case LZU_I8_CHW4:
        level.outer = ceilDiv(level.channels, 4);
        level.inner = 1;
        break;
    case LZU_I8_CHW32:
        level.outer = ceilDiv(level.channels, 32);
        level.inner = 2;
        break;
    default:
        level.outer = level.channels;
        level.inner = 1;
        break;
    }
}

// The kernel counts the bytes of a plane in 32 bits; a unit has at most 16.
bool planeFits(int64_t height, int64_t width, int64_t inner)
{
    return height > 0 && width > 0 && height < (1 << 20) && width < (1 << 20)
           && height * width * inner < (int64_t{1} << 27);
}

bool startsAligned(void const* tensor)
{
    return tensor != nullptr && reinterpret_cast<uintptr_t>(tensor) % 16 == 0;
}

struct Plan
{
    LevelPlan levels[kMAX_LEVELS];
    int levelCount;
};

template <class Unit, int SPAN>
int launchShape(Plan const& plan, Shape const& shape, int batch, void* stream)
{
    Resample<Unit, SPAN> kernel{};
    kernel.levelCount = plan.levelCount;
    kernel.tileX = shape.tileX;
    kernel.tileY = SPAN > 4 ? shape.tileY * (SPAN / 4) : shape.tileY;
    while ((SPAN << kernel.stripBits) < kernel.tileX)
    {
        ++kernel.stripBits;
    }
    kernel.runLength = shape.runLength;
    int64_t blocks = 0;
    for (int i = 0; i < plan.levelCount; ++i)
    {
        LevelPlan& level = kernel.levels[i];
        level = plan.levels[i];
        int const tilesX = ceilDiv(level.outWidth, kernel.tileX);
        int const tilesY = ceilDiv(level.outHeight, kernel.tileY);
        int const runs = ceilDiv(level.outer, kernel.runLength);
        level.tilesX = Divisor::of(tilesX);
        level.tilesY = Divisor::of(tilesY);
        level.runs = Divisor::of(runs);
        level.units = Divisor::of(level.inner);
        level.firstBlock = static_cast<int>(blocks);
        blocks += static_cast<int64_t>(tilesX) * tilesY * runs * batch;
        if (blocks >= (int64_t{1} << 31))
        {
            return LZU_INVALID;
        }
    }
    return launch(kernel, static_cast<int>(blocks), stream);
}

// The shape with a tile of so many cells that no thread of a block is without an item, at the fewest units of a cell.
Shape grown(Shape shape, Plan const& plan)
{
    int inner = kTHREADS;
    for (int i = 0; i < plan.levelCount; ++i)
    {
        inner = plan.levels[i].inner < inner ? plan.levels[i].inner : inner;
    }
    while (!shape.wide && shape.tileX * shape.tileY * inner < kTHREADS)
    {
        (shape.tileY < shape.tileX ? shape.tileY : shape.tileX) *= 2;
    }
    return shape;
}

int launchFormat(Plan& plan, int format, int tactic, int batch, void* stream)
{
    if (tactic < 0 || tactic >= shapesOf(format).count || batch < 1)
    {
        return LZU_INVALID;
    }
    for (int i = 0; i < plan.levelCount; ++i)
    {
        LevelPlan& level = plan.levels[i];
        if (level.channels < 1 || !startsAligned(level.input) || !startsAligned(level.output))
        {
            return LZU_INVALID;
        }
        setGroups(level, format);
        if (!planeFits(level.y.cells, level.x.cells, level.inner)
            || !planeFits(level.outHeight, level.outWidth, level.inner))
        {
            return LZU_INVALID;
        }
    }
    Shape const shape = grown(shapesOf(format).first[tactic], plan);
    switch (format)
    {
    case LZU_F32_LINEAR:
        return shape.wide ? launchShape<FloatUnit, 4>(plan, shape, batch, stream)
                          : launchShape<FloatUnit, 1>(plan, shape, batch, stream);
    case LZU_F16_LINEAR:
        return shape.wide ? launchShape<HalfUnit, 8>(plan, shape, batch, stream)
                          : launchShape<HalfUnit, 1>(plan, shape, batch, stream);
    case LZU_F16_HWC8: return launchShape<Half8Unit, 1>(plan, shape, batch, stream);
    case LZU_I8_CHW4:
        return shape.wide ? launchShape<Int8Unit<1>, 4>(plan, shape, batch, stream)
                          : launchShape<Int8Unit<1>, 1>(plan, shape, batch, stream);
    case LZU_I8_CHW32: return launchShape<Int8Unit<4>, 1>(plan, shape, batch, stream);
    case LZU_I8_LINEAR:
        return shape.wide ? launchShape<ByteUnit, 8>(plan, shape, batch, stream)
                          : launchShape<ByteUnit, 1>(plan, shape, batch, stream);
    default: return LZU_INVALID;
    }
}

bool knotsFit(float const* knots, int count)
{
    return knots != nullptr && count >= 2;
}

} // namespace

extern "C" int32_t lzu_unzoom_tactics(int32_t format)
{
    return shapesOf(format).count;
}

extern "C" int32_t lzu_zoom_tactics(int32_t format)
{
    return shapesOf(format).count;
}

extern "C" int32_t lzu_unzoom(LzuUnzoom const* call, void* stream)
{
    if (call == nullptr || call->level_count < 1 || call->level_count > kMAX_LEVELS
        || !knotsFit(call->knots_x, call->knot_count_x) || !knotsFit(call->knots_y, call->knot_count_y))
    {
        return LZU_INVALID;
    }
    Plan plan{};
    plan.levelCount = call->level_count;
    for (int i = 0; i < plan.levelCount; ++i)
    {
        LzuLevel const& from = call->levels[i];
        LevelPlan& level = plan.levels[i];
        if (from.upscale < 1 || !planeFits(static_cast<int64_t>(from.height) * from.upscale, from.width, from.upscale))
        {
            return LZU_INVALID;
        }
        level.input = static_cast<unsigned char const*>(from.input);
        level.output = static_cast<unsigned char*>(from.output);
        level.channels = from.channels;
        level.outHeight = from.height * from.upscale;
        level.outWidth = from.width * from.upscale;
        int const strideY = call->shared_knots != 0 ? 0 : call->knot_count_y;
        int const strideX = call->shared_knots != 0 ? 0 : call->knot_count_x;
        level.y = {call->knots_y, call->knot_count_y, strideY, from.height, level.outHeight, 1, from.scale_y,
            from.offset_y, from.upscale, call->timing};
        level.x = {call->knots_x, call->knot_count_x, strideX, from.width, level.outWidth, 1, from.scale_x,
            from.offset_x, from.upscale, call->timing};
    }
    return launchFormat(plan, call->format, call->tactic, call->batch, stream);
}

extern "C" int32_t lzu_zoom(LzuZoom const* call, void* stream)
{
    if (call == nullptr || !knotsFit(call->knots_x, call->knot_count_x) || !knotsFit(call->knots_y, call->knot_count_y)
        || call->canvas_height < 1 || call->canvas_width < 1 || call->pad_y < 0 || call->pad_x < 0
        || (call->format != LZU_F32_LINEAR && call->format != LZU_F16_LINEAR))
    {
        return LZU_INVALID;
    }
    Plan plan{};
    plan.levelCount = 1;
    LevelPlan& level = plan.levels[0];
    level.input = static_cast<unsigned char const*>(call->input);
    level.output = static_cast<unsigned char*>(call->output);
    level.channels = call->channels;
    level.outHeight = call->canvas_height + call->pad_y;
    level.outWidth = call->canvas_width + call->pad_x;
    int const strideY = call->shared_knots != 0 ? 0 : call->knot_count_y;
    int const strideX = call->shared_knots != 0 ? 0 : call->knot_count_x;
    level.y = {call->knots_y, call->knot_count_y, strideY, call->height, call->canvas_height, 0, 0.0F, 0.0F, 1,
        call->timing};
    level.x = {call->knots_x, call->knot_count_x, strideX, call->width, call->canvas_width, 0, 0.0F, 0.0F, 1,
        call->timing};
    return launchFormat(plan, call->format, call->tactic, call->batch, stream);
}

extern "C" int32_t lzu_cuda_major(void)
{
#if defined(__CUDACC__)
    return CUDART_VERSION / 1000;
#else
    return 0;
#endif
}

extern "C" int32_t lzu_plugins_version(void)
{
    return LZU_PLUGINS_VERSION;
}
