// Knots of a warp that is not separable, as tiles between four knots each.
#pragma once

#include "portable.h"

namespace lzu
{

struct Point
{
    float x;
    float y;
};

// The knots at the corners of a tile.
struct Corners
{
    Point first;
    Point right;
    Point below;
    Point last;
};

// The knots of one image. In timing, knots of which the last is not right of and below the first stand for those of the
// identity warp: see AxisMap.
struct Plane
{
    Point const* knots;
    int columns; // of tiles
    float stepX; // of the identity warp's knots where they stand for these, else 0
    float stepY;

    LZU_HD static Plane of(Point const* knots, int rows, int columns, bool timing)
    {
        Point const first = knots[0];
        Point const last = knots[(rows + 1) * (columns + 1) - 1];
        bool const stands = timing && !(last.x > first.x && last.y > first.y);
        return {knots, columns, stands ? 2.0F / static_cast<float>(columns) : 0.0F,
            stands ? 2.0F / static_cast<float>(rows) : 0.0F};
    }

    // Knots are read in any case, so that a time is that of reading them.
    LZU_HD Point at(int row, int column) const
    {
        Point const knot = knots[row * (columns + 1) + column];
        return stepX > 0.0F ? Point{fmaf(static_cast<float>(column), stepX, -1.0F),
                                  fmaf(static_cast<float>(row), stepY, -1.0F)}
                            : knot;
    }

    LZU_HD Corners cornersOf(int row, int column) const
    {
        return {at(row, column), at(row, column + 1), at(row + 1, column), at(row + 1, column + 1)};
    }
};

} // namespace lzu
