// From a camera's bytes to a network's input where each output pixel samples four of the picture: bilinearly, by knots
// or by tables whose supports and gains are 1. The result is that of camera.h, up to rounding.
//
// A pixel of the picture is converted for each output pixel that samples it, four an output pixel at any zoom. Sums of
// rows that the columns of a tile share would save conversions only where the warp magnifies, and cost two passes
// through shared memory everywhere.
#pragma once

#include "axis.h"
#include "launch.h"
#include "network_input.h"
#include "pixels.h"

namespace lzu
{

// A row or column of the output: it samples pixel `first` of the picture and the one behind it, both inside.
struct alignas(16) Neighbours
{
    int first;
    float weight;
    float nextWeight;
    float sum; // of the weights
};

// A tap whose cell lies outside has weight 0, and any pixel stands for it. There are two cells at least.
LZU_HD Neighbours neighboursOf(Tap const& tap, int cells)
{
    int const cell = tap.first > tap.second - 1 ? tap.first : tap.second - 1;
    int const first = clampInt(cell, 0, cells - 2);
    auto const weightOf = [&](int pixel)
    {
        return (tap.first == pixel ? tap.firstWeight : 0.0F) + (tap.second == pixel ? tap.secondWeight : 0.0F);
    };
    return {first, weightOf(first), weightOf(first + 1), tap.firstWeight + tap.secondWeight};
}

// A block makes a square of the output, a warp rows of it.
template <class Pixel, class Out>
struct CameraBilinear : Phases<2>
{
    static constexpr int kTHREADS = 256;
    static constexpr int kSIDE = 32;
    static constexpr int kROWS = kSIDE * kSIDE / kTHREADS; // of a thread
    static constexpr int kTOGETHER = 2;                    // rows whose reads are under way at once
    static constexpr int kCHANNELS = Pixel::kCHANNELS;

    struct Shared
    {
        Neighbours columns[kSIDE];
        Neighbours rows[kSIDE];
    };

    Picture picture;
    float const* tableX; // null: knots
    float const* tableY;
    AxisMap x;
    AxisMap y;
    int tilesX;
    NetworkInput<Out> output;

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        if (phase == 0)
        {
            placeNeighbours(shared, place);
            return;
        }
        int const top = place.block / tilesX * kSIDE;
        int const left = place.block % tilesX * kSIDE;
        LZU_UNROLL(1)
        for (int row = place.thread / kSIDE; row < kSIDE; row += kTOGETHER * kTHREADS / kSIDE)
        {
            sample(shared, row, place.thread % kSIDE, top, left);
        }
    }

private:
    // The pixels that an output pixel samples.
    struct Four
    {
        Pixel pixels[2][2];
    };

    LZU_HD static Neighbours neighboursAt(AxisMap const& axis, float const* table, int cell)
    {
        if (cell >= axis.mapped)
        {
            return {0, 0.0F, 0.0F, 0.0F};
        }
        Tap const tap = table != nullptr ? tapAt(Pair{table[cell], table[axis.mapped + cell]}, axis.cells)
                                         : zoomTap(axis, axis.knots, cell);
        return neighboursOf(tap, axis.cells);
    }

    LZU_HD void placeNeighbours(Shared& shared, Place place) const
    {
        int const at = place.thread % kSIDE;
        if (place.thread < kSIDE)
        {
            shared.columns[at] = neighboursAt(x, tableX, place.block % tilesX * kSIDE + at);
        }
        else if (place.thread < 2 * kSIDE)
        {
            shared.rows[at] = neighboursAt(y, tableY, place.block / tilesX * kSIDE + at);
        }
    }

    LZU_HD static int rowOf(int row, int i)
    {
        return row + i * (kTHREADS / kSIDE);
    }

    LZU_HD void sample(Shared const& shared, int row, int column, int top, int left) const
    {
        Neighbours const across = shared.columns[column];
        Four read[kTOGETHER];
        LZU_UNROLL(kTOGETHER)
        for (int i = 0; i < kTOGETHER; ++i)
        {
            read[i] = readFour(shared.rows[rowOf(row, i)].first, across.first);
        }
        LZU_UNROLL(kTOGETHER)
        for (int i = 0; i < kTOGETHER; ++i)
        {
            Neighbours const down = shared.rows[rowOf(row, i)];
            float sums[kCHANNELS];
            sumFour(read[i], down, across, sums);
            output.write(sums, down.sum * across.sum, top + rowOf(row, i), left + column);
        }
    }

    LZU_HD Four readFour(int row, int column) const
    {
        Four four;
        LZU_UNROLL(4)
        for (int i = 0; i < 4; ++i)
        {
            four.pixels[i / 2][i % 2] = Pixel::read(picture, row + i / 2, column + i % 2);
        }
        return four;
    }

    LZU_HD static void sumFour(
        Four const& four, Neighbours const& down, Neighbours const& across, float (&sums)[kCHANNELS])
    {
        LZU_UNROLL(4)
        for (int i = 0; i < 4; ++i)
        {
            float const weight
                = (i / 2 == 0 ? down.weight : down.nextWeight) * (i % 2 == 0 ? across.weight : across.nextWeight);
            float values[kCHANNELS];
            four.pixels[i / 2][i % 2].toFloats(values);
            LZU_UNROLL(3)
            for (int c = 0; c < kCHANNELS; ++c)
            {
                sums[c] = i == 0 ? weight * values[c] : fmaf(weight, values[c], sums[c]);
            }
        }
    }
};

} // namespace lzu
