// From boxes to the knots of a separable warp: lzu_export.warp.box_saliency, saliency.mix and knots.axis_knots.
//
// One block serves one image. The Gaussian of a box is a product of one in x and one in y, so marginals are sums of 1-D
// Gaussians, and no map of the lattice is needed. What several Gaussians share (reciprocals, positions) is computed
// once, and every sum is shared out among threads.
#pragma once

#include "launch.h"
#include "pair.h"

namespace lzu
{

constexpr int kMAX_BOXES = 1024;
constexpr int kMAX_LATTICE = 256;
constexpr float kKERNEL_SUM_FLOOR = 1e-5F; // saliency.KERNEL_SUM_FLOOR

// Knots are set this far apart at least: enough above MIN_GAP for their gap to be MIN_GAP or more after rounding.
constexpr float kGAP_SET = 1.125F * kMIN_GAP;

// A running sum that keeps what rounding takes away.
struct CarefulSum
{
    Pair total{0.0F, 0.0F};

    LZU_HD void add(float value)
    {
        Pair const sum = sumOf(total.high, value);
        total = {sum.high, total.low + sum.low};
    }

    LZU_HD float value() const
    {
        return total.high + total.low;
    }
};

// The reciprocal, but finite, so that its product with 0 is 0.
LZU_HD float reciprocal(float value)
{
    return fminf(1.0F / value, 3.402823466e38F);
}

struct BoxKnots : Phases<10>
{
    static constexpr int kTHREADS = 512;
    static constexpr int kMOST_PARTS = 8; // threads that share a sum

    // A box along one axis.
    struct Extent
    {
        Pair centre;
        float inverseSide;
    };

    // Arrays over both axes hold the lattice's columns first, then its rows.
    struct Shared
    {
        Extent extents[2 * kMAX_BOXES];   // along x, then along y
        float masses[2 * kMAX_BOXES];     // weight of the box's Gaussian in the marginal along x, then along y
        Pair points[2 * kMAX_LATTICE];    // source pixels
        float saliency[2 * kMAX_LATTICE]; // marginals, from phase 6 on mixed with the fixed ones and of sum 1
        float parts[kTHREADS];            // partial sums
        float moments[kTHREADS];
        float knots[2 * kMAX_LATTICE];
        float kernel[kMAX_LATTICE]; // weight of the lattice point so many cells away
        float totals[2 * kMOST_PARTS];
        int count; // of boxes
    };

    static_assert(sizeof(Shared) <= 48 * 1024, "static shared memory of a block is 48 KiB at most");

    float const* boxes;
    float const* valid;
    float const* amplitude;
    float const* bandwidth;
    float const* fixedX;
    float const* fixedY;
    float* outX;
    float* outY;
    int boxCount;
    int height; // of the lattice
    int width;
    float sourceHeight;
    float sourceWidth;
    float fwhm;
    float mix;
    float minSide;

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        switch (phase)
        {
        case 0: prepare(shared, place); break;
        case 1: sumGaussians(shared, place); break;
        case 2: weighBoxes(shared, place); break;
        case 3: sumParts(shared, place); break;
        case 4: finishMarginals(shared, place); break;
        case 5: sumMarginals(shared, place); break;
        case 6: mixMarginals(shared, place); break;
        case 7: attractParts(shared, place); break;
        case 8: finishKnots(shared, place); break;
        default: separate(shared, place); break;
        }
    }

private:
    // A point of the lattice's axes, which are shared out among threads as one list, columns first.
    struct AxisPoint
    {
        bool alongX;
        int index;
        int count; // of the axis's points
        int start; // of the axis in the list
    };

    LZU_HD AxisPoint axisPoint(int i) const
    {
        return i < width ? AxisPoint{true, i, width, 0} : AxisPoint{false, i - width, height, width};
    }

    LZU_HD int pointCount() const
    {
        return width + height;
    }

    // Threads that share the sum of a point: thread t has part t / pointCount() of point t % pointCount().
    LZU_HD int partCount() const
    {
        int const parts = kTHREADS / pointCount();
        return parts < kMOST_PARTS ? parts : kMOST_PARTS;
    }

    LZU_HD int shorterSide() const
    {
        return height < width ? height : width;
    }

    LZU_HD bool isBox(Place place, int box) const
    {
        int64_t const at = static_cast<int64_t>(place.block) * boxCount + box;
        float const* const edges = boxes + at * 4;
        bool const finite = isFinite(edges[0]) && isFinite(edges[1]) && isFinite(edges[2]) && isFinite(edges[3]);
        return valid[at] > 0.5F && finite && *amplitude >= 0.0F && isFinite(*amplitude) && *bandwidth > 0.0F
               && isFinite(*bandwidth);
    }

    LZU_HD Extent extentAlong(Place place, int box, int axis) const
    {
        float const* const edges = boxes + (static_cast<int64_t>(place.block) * boxCount + box) * 4;
        float const low = edges[axis] * 0.5F;
        float const high = edges[axis + 2] * 0.5F; // halves, so that no finite box overflows
        return {sumOf(low, high), reciprocal(fmaxf(edges[axis + 2] - edges[axis], minSide))};
    }

    // What is no box gets a place that makes no NaN, and later no mass.
    LZU_HD void prepare(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < 2 * boxCount; i += kTHREADS)
        {
            int const axis = i < boxCount ? 0 : 1;
            int const box = i - axis * boxCount;
            shared.extents[i] = isBox(place, box) ? extentAlong(place, box, axis) : Extent{{0.0F, 0.0F}, 0.0F};
        }
        for (int i = place.thread; i < pointCount(); i += kTHREADS)
        {
            auto const [alongX, q, points, start] = axisPoint(i);
            float const size = alongX ? sourceWidth : sourceHeight;
            shared.points[i] = productOf(size, static_cast<float>(q)) / static_cast<float>(points - 1);
        }
        float const narrow = -2.7725887222397811F / (fwhm * fwhm); // 4 ln 2
        for (int t = place.thread; t < shorterSide(); t += kTHREADS)
        {
            float const distance = static_cast<float>(t);
            shared.kernel[t] = expf(narrow * distance * distance);
        }
        if (place.thread == 0)
        {
            shared.count = 0;
        }
    }

    // exp(-d^2 / (2 bandwidth side)) at a lattice point of an axis whose points lie at 0 .. size inclusive.
    LZU_HD static float gaussian(Extent const& box, Pair point, float inverseBandwidth)
    {
        float const d = difference(point, box.centre.high) - box.centre.low;
        // Scaled apart, for the square of a far box's distance overflows.
        return expf(-0.5F * (d * box.inverseSide) * (d * inverseBandwidth));
    }

    LZU_HD void sumGaussians(Shared& shared, Place place) const
    {
        float const narrow = reciprocal(*bandwidth);
        for (int i = place.thread; i < 2 * boxCount; i += kTHREADS)
        {
            Extent const box = shared.extents[i];
            int const start = i < boxCount ? 0 : width;
            int const points = i < boxCount ? width : height;
            float sum = 0.0F;
            LZU_UNROLL(4)
            for (int q = 0; q < points; ++q)
            {
                sum += gaussian(box, shared.points[start + q], narrow);
            }
            shared.masses[i] = sum;
        }
    }

    LZU_HD void weighBoxes(Shared& shared, Place place) const
    {
        for (int box = place.thread; box < boxCount; box += kTHREADS)
        {
            float const sumX = shared.masses[box];
            float const sumY = shared.masses[boxCount + box];
            bool const counts = isBox(place, box);
            float const weight = counts ? *amplitude / (kKERNEL_SUM_FLOOR + sumX * sumY) : 0.0F;
            shared.masses[box] = weight * sumY;
            shared.masses[boxCount + box] = weight * sumX;
            if (counts)
            {
                addTo(shared.count, 1);
            }
        }
    }

    LZU_HD void sumParts(Shared& shared, Place place) const
    {
        int const points = pointCount();
        int const parts = partCount();
        if (place.thread >= points * parts)
        {
            return;
        }
        int const i = place.thread % points;
        int const start = i < width ? 0 : boxCount;
        float const narrow = reciprocal(*bandwidth);
        CarefulSum sum;
        LZU_UNROLL(4)
        for (int box = place.thread / points; box < boxCount; box += parts)
        {
            sum.add(shared.masses[start + box] * gaussian(shared.extents[start + box], shared.points[i], narrow));
        }
        shared.parts[place.thread] = sum.value();
    }

    // The sum over a point's parts.
    LZU_HD float whole(float const* parts, int i) const
    {
        CarefulSum sum;
        for (int part = 0; part < partCount(); ++part)
        {
            sum.add(parts[part * pointCount() + i]);
        }
        return sum.value();
    }

    LZU_HD void finishMarginals(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < pointCount(); i += kTHREADS)
        {
            // The floor is one of the formula's constants, added per box and per lattice point.
            int const kernel = 2 * shorterSide() - 1;
            int const across = axisPoint(i).alongX ? height : width;
            float const floor = static_cast<float>(across) / static_cast<float>(kernel * kernel);
            float const marginal = whole(shared.parts, i) + static_cast<float>(shared.count) * floor;
            // No box at all: the same everywhere, which is the identity warp.
            shared.saliency[i] = shared.count > 0 && isFinite(marginal) ? marginal : 1.0F;
        }
    }

    LZU_HD void sumMarginals(Shared& shared, Place place) const
    {
        if (place.thread < 2 * kMOST_PARTS)
        {
            auto const [alongX, q, points, start] = axisPoint(place.thread < kMOST_PARTS ? 0 : width);
            CarefulSum sum;
            for (int i = q + place.thread % kMOST_PARTS; i < points; i += kMOST_PARTS)
            {
                sum.add(shared.saliency[start + i]);
            }
            shared.totals[place.thread] = sum.value();
        }
    }

    LZU_HD void mixMarginals(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < pointCount(); i += kTHREADS)
        {
            auto const [alongX, q, points, start] = axisPoint(i);
            CarefulSum total;
            LZU_UNROLL(kMOST_PARTS)
            for (int part = 0; part < kMOST_PARTS; ++part)
            {
                total.add(shared.totals[(alongX ? 0 : kMOST_PARTS) + part]);
            }
            float const share = mix > 0.0F ? mix * (shared.saliency[i] / total.value()) : 0.0F;
            shared.saliency[i] = mix < 1.0F ? fmaf(1.0F - mix, (alongX ? fixedX : fixedY)[q], share) : share;
        }
    }

    // The LZ sum with reflected saliency. Pairs of cells at the same distance are taken together: the Gaussian is even
    // and the offset odd, so what is symmetric cancels before it is rounded.
    LZU_HD void attractParts(Shared& shared, Place place) const
    {
        int const parts = partCount();
        int const part = place.thread / pointCount();
        if (part >= parts)
        {
            return;
        }
        auto const [alongX, j, points, start] = axisPoint(place.thread % pointCount());
        int const last = points - 1;
        float const* const saliency = shared.saliency + start;
        CarefulSum weight;
        CarefulSum moment;
        if (part == 0)
        {
            weight.add(saliency[j]);
        }
        LZU_UNROLL(4)
        for (int t = 1 + part; t < shorterSide(); t += parts)
        {
            float const left = saliency[j - t < 0 ? t - j : j - t];
            float const right = saliency[j + t > last ? 2 * last - j - t : j + t];
            weight.add(shared.kernel[t] * (left + right));
            moment.add(shared.kernel[t] * static_cast<float>(t) * (right - left));
        }
        shared.parts[place.thread] = weight.value();
        shared.moments[place.thread] = moment.value();
    }

    LZU_HD void finishKnots(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < pointCount(); i += kTHREADS)
        {
            auto const [alongX, j, points, start] = axisPoint(i);
            float const last = static_cast<float>(points - 1);
            float const attraction = whole(shared.moments, i) / whole(shared.parts, i);
            float const at = static_cast<float>(j) + (isFinite(attraction) ? attraction : 0.0F);
            float const value = fminf(fmaxf((2.0F * at - last) / last, -1.0F), 1.0F);
            // The ends stay by symmetry, so exactly.
            shared.knots[i] = j == 0 ? -1.0F : (j == points - 1 ? 1.0F : value);
        }
    }

    // Pushes merged knots apart: the largest that any knot below asks for, but at most what leaves room for those
    // above.
    LZU_HD void separate(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < pointCount(); i += kTHREADS)
        {
            auto const [alongX, j, points, start] = axisPoint(i);
            float const* const knots = shared.knots + start;
            float value = knots[j];
            LZU_UNROLL(8)
            for (int below = 0; below < j; ++below)
            {
                value = fmaxf(value, knots[below] + static_cast<float>(j - below) * kGAP_SET);
            }
            value = fminf(value, 1.0F - static_cast<float>(points - 1 - j) * kGAP_SET);
            (alongX ? outX : outY)[static_cast<int64_t>(place.block) * points + j] = value;
        }
    }
};

} // namespace lzu
