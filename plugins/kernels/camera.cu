// Launcher of the zoom from a camera's bytes. A plain C++ compiler makes the host build of this file.
#include "camera.h"
#include "camera_bilinear.h"
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

// Whether each output pixel samples four of the picture, of which all are to be had: see lzu::CameraBilinear.
bool isBilinear(LzuCamera const& call)
{
    bool const narrow = call.bilinear == 1 || call.table_x == nullptr || call.table_y == nullptr;
    bool const even = call.pixel_format != LZU_NV12
                      || ((reinterpret_cast<uintptr_t>(call.chroma) & 1U) == 0 && call.pitch % 2 == 0);
    return narrow && even && call.reduce == 1 && call.height > 1 && call.width > 1;
}

template <class Out>
NetworkInput<Out> networkInputOf(LzuCamera const& call)
{
    NetworkInput<Out> output{};
    output.height = call.canvas_height + call.pad_y;
    output.width = call.canvas_width + call.pad_x;
    bool const redFirst = call.pixel_format == LZU_RGB; // colours of NV12 are made in the order blue, green, red
    bool const swap = redFirst != (call.rgb_output != 0);
    for (int c = 0; c < 3; ++c)
    {
        int const of = swap ? 2 - c : c; // mean and std are in the output's order
        output.scale[c] = static_cast<float>(1.0 / static_cast<double>(call.std[of]));
        output.shift[c] = static_cast<float>(-static_cast<double>(call.mean[of]) / static_cast<double>(call.std[of]));
    }
    int64_t const plane = static_cast<int64_t>(output.height) * output.width;
    output.plane = swap ? -plane : plane;
    output.first = static_cast<Out*>(call.output) + (swap ? 2 * plane : 0);
    return output;
}

template <class Kernel, class Out>
int zoomBy(LzuCamera const& call, int tileX, int tileY, void* stream)
{
    Kernel kernel{};
    kernel.picture = {call.pixels, call.chroma, call.pitch, call.reduce, call.width, hasWords(call) ? 1 : 0};
    bool const tabled = call.table_x != nullptr && call.table_y != nullptr;
    kernel.tableX = tabled ? call.table_x : nullptr;
    kernel.tableY = tabled ? call.table_y : nullptr;
    kernel.x = {call.knots_x, call.knot_count_x, 0, call.width, call.canvas_width, 0, 0.0F, 0.0F, 1};
    kernel.y = {call.knots_y, call.knot_count_y, 0, call.height, call.canvas_height, 0, 0.0F, 0.0F, 1};
    kernel.output = networkInputOf<Out>(call);
    kernel.tilesX = ceilDiv(kernel.output.width, tileX);
    return launch(kernel, kernel.tilesX * ceilDiv(kernel.output.height, tileY), stream);
}

// A unit of pixels for any support; a single pixel, for four of them.
template <class Pixels, class Pixel, class Out>
int zoomTo(LzuCamera const& call, void* stream)
{
    if (isBilinear(call))
    {
        using Kernel = CameraBilinear<Pixel, Out>;
        return zoomBy<Kernel, Out>(call, Kernel::kSIDE, Kernel::kSIDE, stream);
    }
    using Kernel = CameraZoom<Pixels, Out>;
    return zoomBy<Kernel, Out>(call, Kernel::kTILE_X, Kernel::kTILE_Y, stream);
}

template <class Out>
int zoomAs(LzuCamera const& call, void* stream)
{
    switch (call.pixel_format)
    {
    case LZU_GRAY: return zoomTo<Packed<1>, PackedPixel<1>, Out>(call, stream);
    case LZU_NV12:
        return call.reduce == 1 ? zoomTo<Nv12<true>, Nv12Pixel, Out>(call, stream)
                                : zoomTo<Nv12<false>, Nv12Pixel, Out>(call, stream);
    default: return zoomTo<Packed<3>, PackedPixel<3>, Out>(call, stream);
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
