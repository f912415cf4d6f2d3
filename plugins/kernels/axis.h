// One axis of a separable warp: which two cells each output cell samples, and with which weights.
#pragma once

#include "pair.h"

namespace lzu
{

// Two neighbouring cells and their weights. A weight of exactly 0 says that the cell is not to be read.
struct alignas(16) Tap
{
    int first;
    int second;
    float firstWeight;
    float secondWeight;
};

// Where the output cells of an axis sample its input.
struct AxisMap
{
    float const* knots; // of image 0; image b has its own `stride` values further on
    int knotCount;
    int knotStride; // knotCount, or 0 where one warp serves the whole batch
    int cells;      // input cells
    int mapped;     // output cells; those beyond are padding and sample nothing
    int inverse;    // 1: unzoom, by the inverse warp; 0: zoom, by the forward warp
    float
        scale; // unzoom only: label position of level cell i is scale * i + offset; 0: the warp does not move the axis
    float offset;
    int upscale; // unzoom only: output cells per level cell
    // 1: knots of which the last is not above the first stand for the identity warp. TensorRT times tactics on buffers
    // of zeros, on which every tap would lie outside and nothing would be read.
    int timing = 0;
};

// The knots of one image.
struct Knots
{
    float const* values;
    int count;
    float step; // of the identity warp's knots where they stand for these, else 0

    LZU_HD static Knots of(AxisMap const& axis, float const* values)
    {
        int const count = axis.knotCount;
        bool const stands = axis.timing != 0 && !(values[count - 1] > values[0]);
        return {values, count, stands ? 2.0F / static_cast<float>(count - 1) : 0.0F};
    }

    // The values are read in any case, so that a time is that of reading them.
    LZU_HD float at(int j) const
    {
        float const value = values[j];
        return step > 0.0F ? fmaf(static_cast<float>(j), step, -1.0F) : value;
    }
};

// Bilinear interpolation at `position` in cells, zeros outside: the weight of cell j is max(0, 1 - |position - j|).
LZU_HD Tap tapAt(Pair position, int cells)
{
    Tap tap{0, 0, 0.0F, 0.0F};
    // Written so that NaN is outside, and before a conversion to int that could overflow.
    if (!(position.high > -1.5F && position.high < static_cast<float>(cells) + 0.5F))
    {
        return tap;
    }
    float whole = floorf(position.high);
    float share = (position.high - whole) + position.low;
    if (share < 0.0F)
    {
        whole -= 1.0F;
        share += 1.0F;
    }
    else if (share >= 1.0F)
    {
        whole += 1.0F;
        share -= 1.0F;
    }
    int const cell = static_cast<int>(whole);
    if (cell >= 0 && cell < cells)
    {
        tap.first = cell;
        tap.firstWeight = 1.0F - share;
    }
    if (cell + 1 >= 0 && cell + 1 < cells)
    {
        tap.second = cell + 1;
        tap.secondWeight = share;
    }
    return tap;
}

// The piece [knots[j], knots[j + 1]) that holds v, the first or last one for a v outside. Any knots give a valid j.
LZU_HD int pieceOf(Knots const& knots, Pair v)
{
    int low = 0;
    int high = knots.count - 2;
    while (low < high)
    {
        int const middle = (low + high + 1) / 2;
        if (difference(v, knots.at(middle)) >= 0.0F)
        {
            low = middle;
        }
        else
        {
            high = middle - 1;
        }
    }
    return low;
}

// T^-1(v) in pieces from the first knot, 0 to knotCount - 1: the closed form sum_j clip((v - k_j) / gap_j, 0, 1), the
// first piece not clipped below nor the last above. Pieces before the one that holds v count 1 each, but for those so
// short that MIN_GAP stretches them over v: they are the ones visited in the loop.
LZU_HD Pair invertInPieces(Knots const& knots, Pair v)
{
    int const last = knots.count - 2;
    int j = pieceOf(knots, v);
    float shares = 0.0F;
    for (; j >= 0; --j)
    {
        float const low = knots.at(j);
        float const above = difference(v, low);
        float share = above / fmaxf(knots.at(j + 1) - low, kMIN_GAP);
        share = j > 0 ? fmaxf(share, 0.0F) : share;
        share = j < last ? fminf(share, 1.0F) : share;
        shares += share;
        if (above >= kMIN_GAP)
        {
            break; // every earlier piece ends at least MIN_GAP below v
        }
    }
    return sumOf(static_cast<float>(j > 0 ? j : 0), shares);
}

LZU_HD Tap unzoomTap(AxisMap const& axis, float const* knots, int cell)
{
    if (axis.scale == 0.0F)
    {
        int const steps = axis.mapped > 1 ? axis.mapped - 1 : 1;
        Pair const even = productOf(static_cast<float>(axis.cells - 1), static_cast<float>(cell));
        return tapAt(even / static_cast<float>(steps), axis.cells);
    }
    Pair const label = productOf(axis.scale, static_cast<float>(cell)) / static_cast<float>(axis.upscale) + axis.offset;
    Pair const place = invertInPieces(Knots::of(axis, knots), label) * 2.0F;
    Pair const u = place / static_cast<float>(axis.knotCount - 1) + -1.0F;
    return tapAt((u + -axis.offset) / axis.scale, axis.cells);
}

// Canvas pixel j lies (m - 1) j / (n - 1) pieces from the first of m knots: whole pieces by integers, so without error.
LZU_HD Pair forwardPixel(AxisMap const& axis, float const* knots, int pixel)
{
    int piece = 0;
    float share = 0.5F * static_cast<float>(axis.knotCount - 1); // a single pixel sits in the middle
    if (axis.mapped > 1)
    {
        int64_t const numerator = static_cast<int64_t>(pixel) * (axis.knotCount - 1);
        piece = static_cast<int>(numerator / (axis.mapped - 1));
        share = static_cast<float>(numerator % (axis.mapped - 1)) / static_cast<float>(axis.mapped - 1);
    }
    else
    {
        piece = (axis.knotCount - 1) / 2;
        share -= static_cast<float>(piece);
    }
    if (piece > axis.knotCount - 2)
    {
        piece = axis.knotCount - 2;
        share = 1.0F;
    }
    Knots const all = Knots::of(axis, knots);
    float const low = all.at(piece);
    Pair const step = sumOf(all.at(piece + 1), -low) * share;
    Pair const source = step + sumOf(low, 1.0F);
    return source * (0.5F * static_cast<float>(axis.cells - 1));
}

LZU_HD Tap zoomTap(AxisMap const& axis, float const* knots, int pixel)
{
    if (axis.cells == 1)
    {
        return {0, 0, 1.0F, 0.0F};
    }
    return tapAt(forwardPixel(axis, knots, pixel), axis.cells);
}

// The tap of output cell `cell` of image `image`.
LZU_HD Tap tapOf(AxisMap const& axis, int image, int cell)
{
    if (cell >= axis.mapped)
    {
        return {0, 0, 0.0F, 0.0F};
    }
    float const* const knots = axis.knots + static_cast<int64_t>(image) * axis.knotStride;
    return axis.inverse != 0 ? unzoomTap(axis, knots, cell) : zoomTap(axis, knots, cell);
}

} // namespace lzu
