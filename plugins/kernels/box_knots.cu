// Launcher of BoxKnots. A plain C++ compiler makes the host build of this file.
#include "box_knots.h"
#include "lzu_kernels.h"

static_assert(lzu::kMAX_BOXES == LZU_MOST_BOXES && lzu::kMAX_LATTICE == LZU_MOST_LATTICE, "limits are stated twice");

extern "C" int32_t lzu_box_knots(LzuBoxKnots const* call, void* stream)
{
    auto const isLattice = [](int n) { return n >= 2 && n <= LZU_MOST_LATTICE; };
    if (call == nullptr || call->batch < 1 || call->box_count < 0 || call->box_count > LZU_MOST_BOXES
        || !isLattice(call->lattice_height) || !isLattice(call->lattice_width) || call->source_height < 1
        || call->source_width < 1 || !(call->fwhm > 0.0F) || !(call->mix >= 0.0F && call->mix <= 1.0F)
        || !(call->min_side > 0.0F))
    {
        return LZU_INVALID;
    }
    lzu::BoxKnots kernel{};
    kernel.boxes = call->boxes;
    kernel.valid = call->valid;
    kernel.amplitude = call->amplitude;
    kernel.bandwidth = call->bandwidth;
    kernel.fixedX = call->fixed_x;
    kernel.fixedY = call->fixed_y;
    kernel.outX = call->knots_x;
    kernel.outY = call->knots_y;
    kernel.boxCount = call->box_count;
    kernel.height = call->lattice_height;
    kernel.width = call->lattice_width;
    kernel.sourceHeight = static_cast<float>(call->source_height);
    kernel.sourceWidth = static_cast<float>(call->source_width);
    kernel.fwhm = call->fwhm;
    kernel.mix = call->mix;
    kernel.minSide = call->min_side;
    return lzu::launch(kernel, call->batch, stream);
}
