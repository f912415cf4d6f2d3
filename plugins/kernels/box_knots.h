// From boxes to the knots of a separable warp: lzu_export.warp.box_saliency, saliency.mix and knots.axis_knots.
//
// One block serves one image. The Gaussian of a box is a product of one in x and one in y, so marginals are sums of 1-D
// Gaussians, and no map of the lattice is needed.
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

struct BoxKnots : Phases<4>
{
    static constexpr int kTHREADS = 256;

    struct Shared
    {
        float massX[kMAX_BOXES]; // weight of the box's Gaussian in the marginal along x; -1: no box
        float massY[kMAX_BOXES];
        float marginalX[kMAX_LATTICE]; // not yet divided by its sum
        float marginalY[kMAX_LATTICE];
        float knotsX[kMAX_LATTICE];
        float knotsY[kMAX_LATTICE];
    };

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
        case 0: weighBoxes(shared, place); break;
        case 1: sumMarginals(shared, place); break;
        case 2: attract(shared, place); break;
        default: separate(shared, place); break;
        }
    }

private:
    struct Box
    {
        Pair centre;
        float side;
    };

    // A point of the lattice's axes, which are shared out among threads as one list, columns first.
    struct AxisPoint
    {
        bool alongX;
        int index;
        int count; // of the axis's points
    };

    LZU_HD AxisPoint axisPoint(int i) const
    {
        return i < width ? AxisPoint{true, i, width} : AxisPoint{false, i - width, height};
    }

    LZU_HD Box boxAlong(Place place, int box, int axis) const
    {
        float const* const edges = boxes + (static_cast<int64_t>(place.block) * boxCount + box) * 4;
        float const low = edges[axis] * 0.5F;
        float const high = edges[axis + 2] * 0.5F; // halves, so that no finite box overflows
        return {sumOf(low, high), fmaxf(edges[axis + 2] - edges[axis], minSide)};
    }

    LZU_HD bool isBox(Place place, int box) const
    {
        int64_t const at = static_cast<int64_t>(place.block) * boxCount + box;
        float const* const edges = boxes + at * 4;
        bool const finite = isFinite(edges[0]) && isFinite(edges[1]) && isFinite(edges[2]) && isFinite(edges[3]);
        return valid[at] > 0.5F && finite && *amplitude >= 0.0F && isFinite(*amplitude) && *bandwidth > 0.0F
               && isFinite(*bandwidth);
    }

    // exp(-d^2 / (2 bandwidth side)) at lattice point q of an axis whose points lie at 0 .. size inclusive.
    LZU_HD float gaussian(Box const& box, int q, int points, float size) const
    {
        Pair const point = productOf(size, static_cast<float>(q)) / static_cast<float>(points - 1);
        float const d = difference(point, box.centre.high) - box.centre.low;
        // Divided apart, for the square of a far box's distance overflows.
        return expf(-0.5F * (d / box.side) * (d / *bandwidth));
    }

    LZU_HD float gaussianSum(Box const& box, int points, float size) const
    {
        float sum = 0.0F;
        for (int q = 0; q < points; ++q)
        {
            sum += gaussian(box, q, points, size);
        }
        return sum;
    }

    LZU_HD void weighBoxes(Shared& shared, Place place) const
    {
        for (int box = place.thread; box < boxCount; box += kTHREADS)
        {
            shared.massX[box] = -1.0F;
            shared.massY[box] = -1.0F;
            if (isBox(place, box))
            {
                float const sumX = gaussianSum(boxAlong(place, box, 0), width, sourceWidth);
                float const sumY = gaussianSum(boxAlong(place, box, 1), height, sourceHeight);
                float const weight = *amplitude / (kKERNEL_SUM_FLOOR + sumX * sumY);
                shared.massX[box] = weight * sumY;
                shared.massY[box] = weight * sumX;
            }
        }
    }

    LZU_HD void sumMarginals(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < width + height; i += kTHREADS)
        {
            auto const [alongX, q, points] = axisPoint(i);
            float const size = alongX ? sourceWidth : sourceHeight;
            float const* const mass = alongX ? shared.massX : shared.massY;
            CarefulSum sum;
            int count = 0;
            for (int box = 0; box < boxCount; ++box)
            {
                if (mass[box] >= 0.0F)
                {
                    sum.add(mass[box] * gaussian(boxAlong(place, box, alongX ? 0 : 1), q, points, size));
                    ++count;
                }
            }
            // The floor is one of the formula's constants, added per box and per lattice point.
            int const kernel = 2 * (height < width ? height : width) - 1;
            int const across = alongX ? height : width;
            float const floor = static_cast<float>(across) / static_cast<float>(kernel * kernel);
            float const marginal = sum.value() + static_cast<float>(count) * floor;
            // No box at all: the same everywhere, which is the identity warp.
            (alongX ? shared.marginalX : shared.marginalY)[q] = count > 0 && isFinite(marginal) ? marginal : 1.0F;
        }
    }

    LZU_HD static float total(float const* values, int count)
    {
        CarefulSum sum;
        for (int i = 0; i < count; ++i)
        {
            sum.add(values[i]);
        }
        return sum.value();
    }

    LZU_HD float mixed(float const* adaptive, float const* fixed, float sum, int q) const
    {
        float const share = mix > 0.0F ? mix * (adaptive[q] / sum) : 0.0F;
        return mix < 1.0F ? fmaf(1.0F - mix, fixed[q], share) : share;
    }

    LZU_HD void attract(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < width + height; i += kTHREADS)
        {
            auto const [alongX, j, points] = axisPoint(i);
            float const* const adaptive = alongX ? shared.marginalX : shared.marginalY;
            (alongX ? shared.knotsX : shared.knotsY)[j]
                = knot(adaptive, alongX ? fixedX : fixedY, total(adaptive, points), j, points);
        }
    }

    // The LZ sum with reflected saliency. Pairs of cells at the same distance are taken together: the Gaussian is even
    // and the offset odd, so what is symmetric cancels before it is rounded.
    LZU_HD float knot(float const* adaptive, float const* fixed, float sum, int j, int points) const
    {
        int const last = points - 1;
        if (j == 0 || j == last)
        {
            return j == 0 ? -1.0F : 1.0F; // by symmetry, so exactly
        }
        int const reach = (height < width ? height : width) - 1;
        float const narrow = -2.7725887222397811F / (fwhm * fwhm); // 4 ln 2
        CarefulSum weight;
        CarefulSum moment;
        weight.add(mixed(adaptive, fixed, sum, j));
        for (int t = 1; t <= reach; ++t)
        {
            int const below = j - t < 0 ? t - j : j - t;
            int const above = j + t > last ? 2 * last - j - t : j + t;
            float const left = mixed(adaptive, fixed, sum, below);
            float const right = mixed(adaptive, fixed, sum, above);
            float const distance = static_cast<float>(t);
            float const kernel = expf(narrow * distance * distance);
            weight.add(kernel * (left + right));
            moment.add(kernel * distance * (right - left));
        }
        float const attraction = moment.value() / weight.value();
        float const place = static_cast<float>(j) + (isFinite(attraction) ? attraction : 0.0F);
        float const value = (2.0F * place - static_cast<float>(last)) / static_cast<float>(last);
        return fminf(fmaxf(value, -1.0F), 1.0F);
    }

    // Pushes merged knots apart: the largest that any knot below asks for, but at most what leaves room for those
    // above.
    LZU_HD void separate(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < width + height; i += kTHREADS)
        {
            auto const [alongX, j, points] = axisPoint(i);
            float const* const knots = alongX ? shared.knotsX : shared.knotsY;
            float value = knots[j];
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
