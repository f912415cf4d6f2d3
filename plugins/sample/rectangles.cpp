#include "rectangles.h"

#include <algorithm>
#include <cmath>
#include <complex>

namespace lzu::sample
{

namespace
{

using Point = std::complex<double>;
using Polygon = std::vector<Point>; // counter-clockwise

double cross(Point const& first, Point const& second)
{
    return first.real() * second.imag() - first.imag() * second.real();
}

// The corners of a box seen from above, as x + i z.
Polygon rectangle(float const* box)
{
    Point const centre(box[0], box[2]);
    Point const turn = std::polar(1.0, -static_cast<double>(box[6]));
    double const along = static_cast<double>(box[3]) / 2;
    double const across = static_cast<double>(box[5]) / 2;
    return {centre + turn * Point(along, across), centre + turn * Point(-along, across),
        centre + turn * Point(-along, -across), centre + turn * Point(along, -across)};
}

double area(Polygon const& polygon)
{
    double twice = 0;
    for (std::size_t i = 0; i < polygon.size(); ++i)
    {
        twice += cross(polygon[i], polygon[(i + 1) % polygon.size()]);
    }
    return twice / 2;
}

// The part of a polygon on the left of the line from `start` to `end`.
Polygon leftOf(Polygon const& polygon, Point const& start, Point const& end)
{
    Polygon clipped;
    for (std::size_t i = 0; i < polygon.size(); ++i)
    {
        Point const& before = polygon[(i + polygon.size() - 1) % polygon.size()];
        Point const& point = polygon[i];
        double const lower = cross(end - start, before - start);
        double const height = cross(end - start, point - start);
        if ((height >= 0) != (lower >= 0))
        {
            clipped.push_back(before + (point - before) * (lower / (lower - height)));
        }
        if (height >= 0)
        {
            clipped.push_back(point);
        }
    }
    return clipped;
}

double intersectionOverUnion(Polygon const& one, Polygon const& other)
{
    Polygon rest = one;
    for (std::size_t i = 0; i < other.size(); ++i)
    {
        rest = leftOf(rest, other[i], other[(i + 1) % other.size()]);
    }
    double const shared = area(rest);
    return shared / (area(one) + area(other) - shared);
}

float const* at(float const* boxes, std::size_t number)
{
    return boxes + static_cast<int64_t>(number) * kBOX;
}

bool isSound(float const* box)
{
    return std::all_of(box, box + kBOX, [](float each) { return std::isfinite(each); }) && box[3] > 0 && box[5] > 0;
}

} // namespace

std::vector<Kept> suppressInSpace(
    float const* boxes, float const* scores, std::size_t candidates, std::size_t classes, Thresholds const& limits)
{
    auto const most = static_cast<std::size_t>(limits.maxDetections);
    auto const lowest = static_cast<float>(limits.score);
    auto const score = [&](Kept const& each) { return scores[each.candidate * classes + each.label]; };
    std::vector<Kept> found;
    for (std::size_t label = 0; label < classes; ++label)
    {
        std::vector<Kept> entries;
        for (std::size_t i = 0; i < candidates; ++i)
        {
            Kept const entry{i, label};
            if (std::isfinite(score(entry)) && score(entry) > lowest && isSound(at(boxes, i)))
            {
                entries.push_back(entry);
            }
        }
        std::stable_sort(entries.begin(), entries.end(),
            [&](Kept const& first, Kept const& second) { return score(first) > score(second); });
        std::vector<Polygon> kept;
        for (std::size_t i = 0; i < entries.size() && kept.size() < most; ++i)
        {
            Polygon const corners = rectangle(at(boxes, entries[i].candidate));
            if (std::none_of(kept.begin(), kept.end(),
                    [&](Polygon const& other) { return intersectionOverUnion(other, corners) > limits.iou; }))
            {
                kept.push_back(corners);
                found.push_back(entries[i]);
            }
        }
    }
    std::stable_sort(found.begin(), found.end(),
        [&](Kept const& first, Kept const& second) { return score(first) > score(second); });
    found.resize(std::min(found.size(), most));
    return found;
}

} // namespace lzu::sample
