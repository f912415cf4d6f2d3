// Where a camera's kernels write: the planes of a network's input, normalised.
#pragma once

#include "half.h"

namespace lzu
{

// Channel c of the picture becomes scale * sum + shift * weights, where the weights sum to less than 1 where the warp
// reaches beyond the picture, and to 0 in the padding.
template <class Out>
struct NetworkInput
{
    int height;
    int width;
    float scale[3]; // of the picture's channels: 1 / std, and minus mean / std
    float shift[3];
    Out* first;    // the plane of the picture's channel 0
    int64_t plane; // numbers from there to the plane of channel 1; below 0 where the order of channels changes

    // Grey, of one channel, is written to all three planes.
    template <int CHANNELS>
    LZU_HD void write(float const (&sums)[CHANNELS], float weights, int row, int column) const
    {
        if (row >= height || column >= width)
        {
            return;
        }
        Out* const place = first + static_cast<int64_t>(row) * width + column;
        LZU_UNROLL(3)
        for (int c = 0; c < 3; ++c)
        {
            put(place + c * plane, fmaf(sums[CHANNELS == 3 ? c : 0], scale[c], shift[c] * weights));
        }
    }

private:
    LZU_HD static void put(float* place, float value)
    {
        *place = value;
    }

    LZU_HD static void put(Half* place, float value)
    {
        *place = toHalf(value);
    }
};

} // namespace lzu
