// Launcher of the zoom from a camera's bytes. A plain C++ compiler makes the host build of this file.
#include "camera.h"
#include "lzu_kernels.h"

namespace
{

using namespace lzu;

bool isSound(LzuCamera const& call)
{
    bool const pictured = call.pixels != nullptr && call.output != nullptr && call.height > 0 && call.width > 0
                          && call.reduce > 0 && call.pitch > 0 && call.canvas_height > 0 && call.canvas_width > 0
                          && call.pad_y >= 0 && call.pad_x >= 0 && call.height < (1 << 16) && call.width < (1 << 16);
    bool const planar = call.pixel_format == LZU_NV12;
    bool const packed = call.pixel_format == LZU_BGR || call.pixel_format == LZU_RGB;
    bool const tabled = call.table_x != nullptr && call.table_y != nullptr;
    bool const knotted
        = call.knots_x != nullptr && call.knots_y != nullptr && call.knot_count_x >= 2 && call.knot_count_y >= 2;
    bool const spread = call.std[0] > 0.0F && call.std[1] > 0.0F && call.std[2] > 0.0F;
    int64_t const reach = (static_cast<int64_t>(call.width) - 1) * call.reduce + 1;
    int64_t const depth = (static_cast<int64_t>(call.height) - 1) * call.reduce + 1;
    bool const counted = reach < (1LL << 29) && depth < (1LL << 29); // numbers of a row, and rows, are ints
    return pictured && spread && counted && (tabled || knotted)
           && ((packed && call.pitch >= 3 * reach) || (planar && call.chroma != nullptr && call.pitch >= reach)
               || (call.pixel_format == LZU_GRAY && call.pitch >= reach));
}

// Whether 4 bytes can be read at once: see lzu::Picture.
bool hasWords(LzuCamera const& call)
{
    auto const offset = [](uint8_t const* plane) { return static_cast<int>(reinterpret_cast<uintptr_t>(plane) & 3U); };
    bool const planar = call.pixel_format == LZU_NV12;
    bool const alike = !planar || (offset(call.pixels) == offset(call.chroma) && offset(call.pixels) % 2 == 0);
    return call.reduce == 1 && call.pitch % 4 == 0 && alike;
}

template <class Pixels, class Out>
int zoomTo(LzuCamera const& call, void* stream)
{
    using Kernel = CameraZoom<Pixels, Out>;
    Kernel kernel{};
    kernel.picture = {call.pixels, call.chroma, call.pitch, call.reduce, call.width, hasWords(call) ? 1 : 0};
    bool const redFirst = call.pixel_format == LZU_RGB; // colours of NV12 are made in the order blue, green, red
    kernel.swap = redFirst != (call.rgb_output != 0) ? 1 : 0;
    bool const tabled = call.table_x != nullptr && call.table_y != nullptr;
    kernel.tableX = tabled ? call.table_x : nullptr;
    kernel.tableY = tabled ? call.table_y : nullptr;
    kernel.x = {call.knots_x, call.knot_count_x, 0, call.width, call.canvas_width, 0, 0.0F, 0.0F, 1};
    kernel.y = {call.knots_y, call.knot_count_y, 0, call.height, call.canvas_height, 0, 0.0F, 0.0F, 1};
    kernel.outHeight = call.canvas_height + call.pad_y;
    kernel.outWidth = call.canvas_width + call.pad_x;
    kernel.tilesX = ceilDiv(kernel.outWidth, Kernel::kTILE_X);
    for (int c = 0; c < 3; ++c)
    {
        kernel.scale[c] = static_cast<float>(1.0 / static_cast<double>(call.std[c]));
        kernel.shift[c] = static_cast<float>(-static_cast<double>(call.mean[c]) / static_cast<double>(call.std[c]));
    }
    kernel.output = static_cast<Out*>(call.output);
    int const blocks = kernel.tilesX * ceilDiv(kernel.outHeight, Kernel::kTILE_Y);
    return launch(kernel, blocks, stream);
}

template <class Out>
int zoomAs(LzuCamera const& call, void* stream)
{
    switch (call.pixel_format)
    {
    case LZU_GRAY: return zoomTo<Packed<1>, Out>(call, stream);
    case LZU_NV12:
        return call.reduce == 1 ? zoomTo<Nv12<true>, Out>(call, stream) : zoomTo<Nv12<false>, Out>(call, stream);
    default: return zoomTo<Packed<3>, Out>(call, stream);
    }
}

} // namespace

extern "C" int32_t lzu_zoom_camera(LzuCamera const* call, void* stream)
{
    if (call == nullptr || !isSound(*call))
    {
        return LZU_INVALID;
    }
    switch (call->format)
    {
    case LZU_F32_LINEAR: return zoomAs<float>(*call, stream);
    case LZU_F16_LINEAR: return zoomAs<Half>(*call, stream);
    default: return LZU_INVALID;
    }
}
