// Launcher of InvertWarp. A plain C++ compiler makes the host build of this file.
#include "invert_warp.h"
#include "lzu_kernels.h"

namespace
{

template <int SIDE>
int invertWith(LzuInvertWarp const& call, void* stream)
{
    lzu::InvertWarp<SIDE> kernel{};
    kernel.knots = call.knots;
    kernel.timing = call.timing != 0;
    kernel.grid = call.grid;
    kernel.rows = call.lattice_height - 1;
    kernel.columns = call.lattice_width - 1;
    kernel.height = call.height;
    kernel.width = call.width;
    kernel.blocksX = lzu::ceilDiv(call.width, SIDE);
    kernel.blocksY = lzu::ceilDiv(call.height, SIDE);
    kernel.scaleY = call.scale_y;
    kernel.offsetY = call.offset_y;
    kernel.scaleX = call.scale_x;
    kernel.offsetX = call.offset_x;
    kernel.outside = call.outside;
    int64_t const blocks = static_cast<int64_t>(kernel.blocksX) * kernel.blocksY * call.batch;
    return blocks < (int64_t{1} << 31) ? lzu::launch(kernel, static_cast<int>(blocks), stream) : LZU_INVALID;
}

} // namespace

extern "C" int32_t lzu_invert_warp_tactics(void)
{
    return 3;
}

extern "C" int32_t lzu_invert_warp(LzuInvertWarp const* call, void* stream)
{
    static_assert(lzu::kMAX_TILES == LZU_MOST_TILES && lzu::kMAX_TILE_ROWS == LZU_MOST_TILE_ROWS,
        "the limits are stated twice");
    if (call == nullptr || call->knots == nullptr || call->grid == nullptr || call->batch < 1
        || call->lattice_height < 2 || call->lattice_width < 2 || call->height < 1 || call->width < 1
        || call->height > 65535 || call->width > 65535 || call->lattice_height - 1 > LZU_MOST_TILE_ROWS
        || (static_cast<int64_t>(call->lattice_height) - 1) * (call->lattice_width - 1) > LZU_MOST_TILES)
    {
        return LZU_INVALID;
    }
    switch (call->tactic)
    {
    case 0: return invertWith<16>(*call, stream);
    case 1: return invertWith<8>(*call, stream);
    case 2: return invertWith<32>(*call, stream);
    default: return LZU_INVALID;
    }
}
