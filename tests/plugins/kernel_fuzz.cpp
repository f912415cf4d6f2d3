// Calls every launcher of the host build with random, extreme and degenerate
// inputs, in buffers of exactly the right size. Compiled with the address and
// undefined-behaviour sanitizers, which judge.
//
//   kernel_fuzz ROUNDS SEED
#include "kernels/lzu_kernels.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace
{

std::mt19937 gRandom;

int pick(int low, int high)
{
    return std::uniform_int_distribution<int>(low, high)(gRandom);
}

struct Field
{
    int32_t& value;
    int low;
    int high;
};

// Gives each field a random value from its lowest to its highest.
void pickEach(std::initializer_list<Field> fields)
{
    for (Field const& field : fields)
    {
        field.value = pick(field.low, field.high);
    }
}

bool chance(double share)
{
    return std::bernoulli_distribution(share)(gRandom);
}

float extreme()
{
    constexpr float kVALUES[]
        = {0.0F, -0.0F, 1.0F, -1.0F, 1e-45F, 1e-30F, 3e38F, -3e38F, 1e9F, -2e9F, std::numeric_limits<float>::infinity(),
            -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
    return kVALUES[pick(0, static_cast<int>(sizeof kVALUES / sizeof kVALUES[0]) - 1)];
}

float number(float low, float high)
{
    return chance(0.02) ? extreme() : std::uniform_real_distribution<float>(low, high)(gRandom);
}

// Sorted, mostly: the kernels must survive knots of any kind.
std::vector<float> randomKnots(int batch, int count)
{
    std::vector<float> all;
    bool const wild = chance(0.2);
    for (int b = 0; b < batch; ++b)
    {
        float place = -1.0F;
        for (int i = 0; i < count; ++i)
        {
            all.push_back(wild ? number(-2.0F, 2.0F) : place);
            place += chance(0.2) ? 0.0F : number(0.0F, 4.0F / static_cast<float>(count));
        }
    }
    return all;
}

// The knots of a call's warps, to which the call then points.
struct Knots
{
    template <class Call>
    Knots(Call& call, int batch)
    {
        pickEach({{call.knot_count_x, 2, 60}, {call.knot_count_y, 2, 60}});
        x = randomKnots(batch, call.knot_count_x);
        y = randomKnots(batch, call.knot_count_y);
        call.knots_x = x.data();
        call.knots_y = y.data();
    }

    std::vector<float> x;
    std::vector<float> y;
};

// Heap memory of exactly so many bytes; malloc aligns it to 16, as much as the
// kernels need.
class Buffer
{
public:
    explicit Buffer(size_t bytes)
        : mData(static_cast<unsigned char*>(std::malloc(bytes)))
    {
        for (size_t i = 0; i < bytes; ++i)
        {
            mData.get()[i] = static_cast<unsigned char>(gRandom());
        }
    }

    // Memory for an output, to which the pointer then points.
    template <class Element>
    Buffer(Element*& pointer, size_t bytes)
        : Buffer(bytes)
    {
        pointer = static_cast<Element*>(data());
    }

    // An input of numbers from this range, and some extreme ones.
    Buffer(float const*& pointer, size_t bytes, float low, float high)
        : Buffer(pointer, bytes)
    {
        for (size_t i = 0; i < bytes / 4; ++i)
        {
            static_cast<float*>(data())[i] = number(low, high);
        }
    }

    void* data()
    {
        return mData.get();
    }

private:
    struct Free
    {
        void operator()(void* memory) const
        {
            std::free(memory);
        }
    };

    std::unique_ptr<unsigned char, Free> mData;
};

void expect(int code, char const* what)
{
    if (code != 0)
    {
        std::fprintf(stderr, "%s returned %d\n", what, code);
        std::exit(1);
    }
}

size_t levelBytes(int format, int batch, int channels, int cells)
{
    auto const size = static_cast<size_t>(batch) * static_cast<size_t>(cells);
    auto const padded = [channels](int lanes) { return static_cast<size_t>((channels + lanes - 1) / lanes * lanes); };
    switch (format)
    {
    case LZU_F32_LINEAR: return size * static_cast<size_t>(channels) * 4;
    case LZU_F16_LINEAR: return size * static_cast<size_t>(channels) * 2;
    case LZU_F16_HWC8: return size * padded(8) * 2;
    case LZU_I8_LINEAR: return size * static_cast<size_t>(channels);
    case LZU_I8_CHW4: return size * padded(4);
    default: return size * padded(32);
    }
}

void fuzzUnzoom()
{
    LzuUnzoom call{};
    std::vector<Buffer> buffers;
    pickEach({{call.level_count, 1, LZU_MOST_LEVELS}, {call.batch, 1, 3}, {call.format, LZU_F32_LINEAR, LZU_I8_LINEAR},
        {call.shared_knots, 0, 1}, {call.timing, 0, 1}});
    call.tactic = pick(0, lzu_unzoom_tactics(call.format) - 1);
    Knots const knots(call, call.batch);
    for (int i = 0; i < call.level_count; ++i)
    {
        LzuLevel& level = call.levels[i];
        pickEach({{level.channels, 1, 40}, {level.height, 1, 40}, {level.width, 1, 70}, {level.upscale, 1, 3}});
        float* const numbers[] = {&level.scale_y, &level.offset_y, &level.scale_x, &level.offset_x};
        for (float* const value : numbers)
        {
            *value = chance(0.1) ? 0.0F : number(-1.5F, 1.5F);
        }
        int const cells = level.height * level.width;
        buffers.emplace_back(level.input, levelBytes(call.format, call.batch, level.channels, cells));
        buffers.emplace_back(
            level.output, levelBytes(call.format, call.batch, level.channels, cells * level.upscale * level.upscale));
    }
    expect(lzu_unzoom(&call, nullptr), "lzu_unzoom");
}

void fuzzZoom()
{
    LzuZoom call{};
    pickEach({{call.batch, 1, 2}, {call.channels, 1, 4}, {call.height, 1, 60}, {call.width, 1, 60},
        {call.canvas_height, 1, 40}, {call.canvas_width, 1, 70}, {call.pad_y, 0, 9}, {call.pad_x, 0, 9},
        {call.format, LZU_F32_LINEAR, LZU_F16_LINEAR}, {call.timing, 0, 1}});
    call.tactic = pick(0, lzu_zoom_tactics(call.format) - 1);
    Knots const knots(call, call.batch);
    int const cells = (call.canvas_height + call.pad_y) * (call.canvas_width + call.pad_x);
    Buffer const input(call.input, levelBytes(call.format, call.batch, call.channels, call.height * call.width));
    Buffer const output(call.output, levelBytes(call.format, call.batch, call.channels, cells));
    expect(lzu_zoom(&call, nullptr), "lzu_zoom");
}

void fuzzCamera()
{
    LzuCamera call{};
    pickEach({{call.pixel_format, LZU_BGR, LZU_GRAY}, {call.reduce, 1, 3}, {call.height, 1, 40},
        {call.width, 1, chance(0.1) ? 900 : 40}, {call.canvas_height, 1, 40}, {call.canvas_width, 1, 80},
        {call.pad_y, 0, 5}, {call.pad_x, 0, 5}, {call.rgb_output, 0, 1},
        {call.bilinear, 0, 1}, {call.format, LZU_F32_LINEAR, LZU_F16_LINEAR}});
    int const rows = (call.height - 1) * call.reduce + 1;
    int const columns = (call.width - 1) * call.reduce + 1;
    bool const planar = call.pixel_format == LZU_NV12;
    bool const packed = call.pixel_format == LZU_BGR || call.pixel_format == LZU_RGB;
    int const bytes = packed ? 3 * columns : columns;
    call.pitch = (planar ? (columns + 1) / 2 * 2 : bytes) + pick(0, 5);
    int const skip = planar ? 2 * pick(0, 1) : pick(0, 3);
    // The last row ends with its last pixel: what follows belongs to nobody.
    Buffer const pixels(call.pixels, static_cast<size_t>(skip + call.pitch * (rows - 1) + bytes));
    Buffer const chroma(
        call.chroma, static_cast<size_t>(skip + call.pitch * ((rows + 1) / 2 - 1) + (columns + 1) / 2 * 2));
    call.pixels += skip;
    call.chroma = planar ? call.chroma + skip : nullptr;
    Knots const knots(call, 1);
    Buffer const tableX(
        call.table_x, static_cast<size_t>(16 * call.canvas_width), -5.0F, static_cast<float>(call.width) + 5.0F);
    Buffer const tableY(call.table_y, static_cast<size_t>(16 * call.canvas_height), -5.0F, 45.0F);
    if (chance(0.5))
    {
        call.knots_x = nullptr;
        call.knots_y = nullptr;
    }
    else
    {
        call.table_x = nullptr;
        call.table_y = nullptr;
    }
    for (int c = 0; c < 3; ++c)
    {
        call.mean[c] = 110.0F;
        call.std[c] = 58.0F;
    }
    int const cells = (call.canvas_height + call.pad_y) * (call.canvas_width + call.pad_x);
    Buffer const output(call.output, levelBytes(call.format, 1, 3, cells));
    expect(lzu_zoom_camera(&call, nullptr), "lzu_zoom_camera");
}

void fuzzBoxKnots()
{
    LzuBoxKnots call{};
    pickEach(
        {{call.batch, 1, 3}, {call.lattice_width, 2, 60}, {call.source_height, 1, 4000}, {call.source_width, 1, 4000}});
    call.box_count = chance(0.1) ? LZU_MOST_BOXES : pick(0, 60);
    call.lattice_height = chance(0.1) ? LZU_MOST_LATTICE : pick(2, 40);
    call.fwhm = std::fabs(std::uniform_real_distribution<float>(0.1F, 40.0F)(gRandom));
    call.mix = static_cast<float>(pick(0, 4)) / 4.0F;
    call.min_side = 1.0F;
    auto const boxes = static_cast<size_t>(call.batch * call.box_count);
    auto const columns = static_cast<size_t>(call.lattice_width);
    auto const rows = static_cast<size_t>(call.lattice_height);
    auto const batch = static_cast<size_t>(call.batch);
    float const amplitude = number(0.0F, 4.0F);
    float const bandwidth = number(0.0F, 100.0F);
    call.amplitude = &amplitude;
    call.bandwidth = &bandwidth;
    Buffer const edges(call.boxes, 16 * boxes, -100.0F, 2000.0F);
    Buffer const valid(call.valid, 4 * boxes, 0.0F, 1.5F);
    Buffer const fixedX(call.fixed_x, 4 * columns, 0.0F, 0.1F);
    Buffer const fixedY(call.fixed_y, 4 * rows, 0.0F, 0.1F);
    Buffer const knotsX(call.knots_x, 4 * columns * batch);
    Buffer const knotsY(call.knots_y, 4 * rows * batch);
    expect(lzu_box_knots(&call, nullptr), "lzu_box_knots");
    for (size_t i = 0; i < columns * batch; ++i)
    {
        if (!std::isfinite(call.knots_x[i]) || (i % columns != 0 && !(call.knots_x[i] - call.knots_x[i - 1] >= 1e-6F)))
        {
            std::fprintf(stderr, "knots that cannot be inverted\n");
            std::exit(1);
        }
    }
}

void fuzzInvertWarp()
{
    LzuInvertWarp call{};
    pickEach({{call.batch, 1, 2}, {call.lattice_height, 2, 40}, {call.lattice_width, 2, 60}, {call.height, 1, 50},
        {call.width, 1, 70}, {call.tactic, 0, lzu_invert_warp_tactics() - 1},
        {call.timing, 0, 1}});
    call.scale_y = number(-0.2F, 0.2F);
    call.offset_y = number(-1.2F, 1.0F);
    call.scale_x = number(-0.2F, 0.2F);
    call.offset_x = number(-1.2F, 1.0F);
    call.outside = 4.0F;
    float* values = nullptr;
    Buffer const plane(values, static_cast<size_t>(8 * call.batch * call.lattice_height * call.lattice_width));
    Buffer const grid(call.grid, static_cast<size_t>(8 * call.batch * call.height * call.width));
    float const jitter = number(0.0F, chance(0.5) ? 0.05F : 1.0F);
    for (int i = 0; i < call.batch * call.lattice_height * call.lattice_width; ++i)
    {
        int const column = i % call.lattice_width;
        int const row = i / call.lattice_width % call.lattice_height;
        values[2 * i] = 2.0F * static_cast<float>(column) / static_cast<float>(call.lattice_width - 1) - 1.0F
                        + number(-1.0F, 1.0F) * jitter;
        values[2 * i + 1] = 2.0F * static_cast<float>(row) / static_cast<float>(call.lattice_height - 1) - 1.0F
                            + number(-1.0F, 1.0F) * jitter;
    }
    call.knots = values;
    expect(lzu_invert_warp(&call, nullptr), "lzu_invert_warp");
}

void fuzzSuppress()
{
    LzuSuppress call{};
    pickEach({{call.batch, 1, 2}, {call.max_detections, 1, chance(0.1) ? 3000 : 120}});
    call.candidates = chance(0.05) ? LZU_MOST_CANDIDATES : pick(1, 300);
    call.label_bytes = pick(1, 2) * 4;
    call.score_threshold = number(-0.5F, 1.0F);
    call.iou_threshold = number(0.0F, 1.0F);
    auto const total = static_cast<size_t>(call.batch * call.candidates);
    auto const kept = static_cast<size_t>(call.batch * call.max_detections);
    Buffer const boxes(call.boxes, 16 * total, 0.0F, 100.0F);
    Buffer const scores(call.scores, 4 * total, 0.0F, 1.0F);
    Buffer const labels(call.labels, static_cast<size_t>(call.label_bytes) * total);
    Buffer const workspace(call.workspace, lzu_suppress_workspace(call.batch, call.candidates));
    Buffer const keptBoxes(call.kept_boxes, 16 * kept);
    Buffer const keptScores(call.kept_scores, 4 * kept);
    Buffer const keptLabels(call.kept_labels, 4 * kept);
    Buffer const keptCount(call.kept_count, 4 * static_cast<size_t>(call.batch));
    expect(lzu_suppress(&call, nullptr), "lzu_suppress");
}

void fuzzFeedBoxes()
{
    LzuFeedBoxes call{};
    call.batch = pick(1, 3);
    call.detections = chance(0.05) ? LZU_MOST_CANDIDATES : pick(1, 300);
    call.box_count = chance(0.05) ? LZU_MOST_BOXES : pick(1, 120);
    call.most = pick(0, call.box_count);
    call.score_threshold = number(0.0F, 1.0F);
    call.left = static_cast<float>(pick(0, 50));
    call.top = static_cast<float>(pick(0, 50));
    call.right = call.left + static_cast<float>(pick(0, 2000));
    call.bottom = call.top + static_cast<float>(pick(0, 2000));
    auto const total = static_cast<size_t>(call.batch * call.detections);
    auto const fed = static_cast<size_t>(call.batch * call.box_count);
    int32_t* counts = nullptr;
    Buffer const boxes(call.boxes, 16 * total, -100.0F, 2000.0F);
    Buffer const scores(call.scores, 4 * total, 0.0F, 1.0F);
    Buffer const count(counts, 4 * static_cast<size_t>(call.batch));
    Buffer const prevBoxes(call.prev_boxes, 16 * fed);
    Buffer const prevValid(call.prev_valid, 4 * fed);
    for (int b = 0; b < call.batch; ++b)
    {
        counts[b] = chance(0.1) ? pick(-2000000000, 2000000000) : pick(0, call.detections);
    }
    call.count = counts;
    expect(lzu_feed_boxes(&call, nullptr), "lzu_feed_boxes");
    for (size_t i = 0; i < fed; ++i)
    {
        if (!(call.prev_valid[i] == 0.0F || call.prev_valid[i] == 1.0F) || !std::isfinite(call.prev_boxes[4 * i]))
        {
            std::fprintf(stderr, "boxes that no engine should get\n");
            std::exit(1);
        }
    }
}

} // namespace

int main(int argc, char** argv)
{
    int const rounds = argc > 1 ? std::atoi(argv[1]) : 100;
    gRandom.seed(static_cast<unsigned>(argc > 2 ? std::atoi(argv[2]) : 1));
    for (int round = 0; round < rounds; ++round)
    {
        fuzzUnzoom();
        fuzzZoom();
        fuzzCamera();
        fuzzBoxKnots();
        fuzzInvertWarp();
        fuzzSuppress();
        fuzzFeedBoxes();
    }
    std::printf("%d rounds\n", rounds);
    return 0;
}
