// The exact inverse of a non-separable warp: lzu_export.warp.inverse.invert_tiles in single precision.
//
// The published code scatters from tiles to pixels, and the last write wins. Here each pixel looks for its tile, so
// that nothing is written twice and the result is the same in every run. What makes the search short is done once per
// block of pixels: it marks the tiles whose bounding box meets the block, and takes them 64 at a time, in order. For
// each of its rows and columns of pixels it then knows, as 64 bits, which of them that row or column may meet; a pixel
// visits the tiles that both name, one or two as a rule.
#pragma once

#include "launch.h"
#include "pair.h"
#include "plane.h"

namespace lzu
{

constexpr int kMAX_TILES = 65536;
constexpr int kMAX_TILE_ROWS = 1024;

// How far outside a tile a point may lie by rounding and still belong to it; lzu_export.ops.invert_warp.EDGE explains
// it for the outermost knots. On a seam the nearest tile wins, so that there the size hardly matters. It is a distance
// and no share of a tile: a wide tile would take the points of a thin one beside it.
constexpr float kEDGE = 1e-5F;

constexpr float kNONE = 3.402823466e38F;

// Lines of pixels are found for a tile by a division that may err by this part of their distance.
constexpr float kLINE_SLACK = 0.05F;

LZU_HD Point operator-(Point a, Point b)
{
    return {a.x - b.x, a.y - b.y};
}

LZU_HD float cross(Point a, Point b)
{
    return a.x * b.y - a.y * b.x;
}

struct Solution
{
    float u;
    float v;
    float violation; // in sides of the tile: 0 inside it; kNONE where there is no solution
};

// By comparison instead of fminf and fmaxf, which a host's compiler calls as functions. What NaN gives does not matter:
// a tile that holds one has no solution.
LZU_HD float larger(float a, float b)
{
    return a > b ? a : b;
}

LZU_HD float smaller(float a, float b)
{
    return a < b ? a : b;
}

LZU_HD float clampUnit(float value)
{
    return smaller(larger(value, 0.0F), 1.0F);
}

struct Range
{
    float low;
    float high;

    LZU_HD static Range nothing()
    {
        return {kNONE, -kNONE};
    }

    LZU_HD void add(float value)
    {
        low = smaller(value, low);
        high = larger(value, high);
    }

    // Wider by the tolerance, and by the rounding of positions.
    LZU_HD Range withSlack() const
    {
        float const slack = kEDGE + 9.5e-7F;
        return {low - slack, high + slack};
    }

    LZU_HD bool meets(Range other) const
    {
        return low <= other.high && high >= other.low;
    }
};

// The tile p = a + b u + c v + d u v on the unit square.
struct Tile
{
    Point a;
    Point b;
    Point c;
    Point d;

    LZU_HD static Tile of(Point topLeft, Point topRight, Point bottomLeft, Point bottomRight)
    {
        Point const top = topRight - topLeft;
        // By differences of neighbours, which are exact where a sum of four corners would round at their magnitude.
        return {topLeft, top, bottomLeft - topLeft, (bottomRight - bottomLeft) - top};
    }

    // LZU eqs. (16) and (17). Both roots come without cancellation, and c0 / q stays exact as c2 goes to zero, where
    // the tile is a parallelogram. `offset` is a minus the point.
    LZU_HD Solution solve(Point offset) const
    {
        float const c0 = cross(b, offset);
        float const c1 = cross(d, offset) + cross(b, c);
        float const c2 = cross(d, c);
        float const square = c1 * c1;
        float const product = 4.0F * c2 * c0;
        float const root = sqrtf(larger(square - product, 0.0F));
        Solution best{0.0F, 0.0F, kNONE};
        // Below zero by more than rounding: the point lies beyond the fold of a folded tile.
        if (square - product >= -1e-5F * (square + fabsf(product)))
        {
            float const q = -0.5F * (c1 + copysignf(root, c1));
            better(best, offset, c0 / q);
            if (best.violation > 0.0F)
            {
                better(best, offset, q / c2);
            }
        }
        return best;
    }

    // How far the point lies from the tile's place that is nearest to its solution; `offset` as above.
    LZU_HD float distance(Point offset, Solution const& found) const
    {
        if (found.violation == 0.0F || found.violation == kNONE)
        {
            return found.violation;
        }
        float const u = clampUnit(found.u);
        float const v = clampUnit(found.v);
        float const x = offset.x + b.x * u + (c.x + d.x * u) * v;
        float const y = offset.y + b.y * u + (c.y + d.y * u) * v;
        return larger(fabsf(x), fabsf(y));
    }

private:
    LZU_HD void better(Solution& best, Point offset, float v) const
    {
        Point const slope{b.x + d.x * v, b.y + d.y * v};
        Point const rest{-(offset.x + c.x * v), -(offset.y + c.y * v)};
        // Divided by whichever of x and y is the better conditioned.
        float const u = fabsf(slope.x) >= fabsf(slope.y) ? rest.x / slope.x : rest.y / slope.y;
        float const violation = larger(larger(larger(-u, u - 1.0F), larger(-v, v - 1.0F)), 0.0F);
        if (isFinite(u + v) && violation < best.violation)
        {
            best = {u, v, violation};
        }
    }
};

// Threads may flip bits of one word at a time.
LZU_HD void flip(uint64_t& word, uint64_t bits)
{
#if defined(__CUDA_ARCH__)
    atomicXor(reinterpret_cast<unsigned long long*>(&word), static_cast<unsigned long long>(bits));
#else
    word ^= bits;
#endif
}

// SIDE: pixels of a block along each axis.
template <int SIDE>
struct InvertWarp
{
    static constexpr int kTHREADS = SIDE * SIDE < kMOST_THREADS ? SIDE * SIDE : kMOST_THREADS;
    static constexpr int kLISTED = 64;

    struct Shared
    {
        uint32_t marked[kMAX_TILES / 32]; // bit t % 32 of word t / 32: tile t meets the block and is not yet listed
        uint8_t rowMeets[kMAX_TILE_ROWS];
        int cursor; // words of `marked` before it are empty
        int count;  // of tiles listed
        int tileRows[kLISTED];
        int tileColumns[kLISTED];
        Pair rowPlaces[SIDE]; // where the block's pixels lie
        Pair columnPlaces[SIDE];
        uint64_t rowTurns[SIDE + 1]; // bit i: listed tile i begins at this row of pixels, or ended before it
        uint64_t columnTurns[SIDE + 1];
        uint64_t byRow[SIDE]; // bit i: listed tile i may meet this row of pixels
        uint64_t byColumn[SIDE];
        float distances[SIDE * SIDE]; // from the nearest tile so far
    };

    float const* knots;
    bool timing; // as in LzuUnzoom
    float* grid;
    int rows; // of tiles
    int columns;
    int height; // of the grid
    int width;
    int blocksX;
    int blocksY;
    float scaleY; // row i of the grid stands at scaleY * i + offsetY
    float offsetY;
    float scaleX;
    float offsetX;
    float outside;

    // Phase 0 looks at whole rows of tiles, 1 marks tiles; then in turn tiles are listed, sorted to rows and columns of
    // pixels in two steps, and visited, until none is left. `count` is written when tiles are listed and asked for
    // later.
    LZU_HD bool more(Shared const& shared, int phase) const
    {
        return phase < 3 || phase % 4 == 2 || shared.count > 0;
    }

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int const x0 = place.block % blocksX * SIDE;
        int const y0 = place.block / blocksX % blocksY * SIDE;
        int const image = place.block / blocksX / blocksY;
        Plane const plane = Plane::of(
            reinterpret_cast<Point const*>(knots) + static_cast<int64_t>(image) * (rows + 1) * (columns + 1), rows,
            columns, timing);
        Point* const out = reinterpret_cast<Point*>(grid) + static_cast<int64_t>(image) * height * width;
        if (phase == 0)
        {
            survey(shared, plane, y0, place.thread);
            clear(shared, out, y0, x0, place.thread);
        }
        else if (phase == 1)
        {
            mark(shared, plane, y0, x0, place.thread);
        }
        else if (phase % 4 == 2)
        {
            if (place.thread == 0)
            {
                list(shared);
            }
            for (int i = place.thread; i <= SIDE; i += kTHREADS)
            {
                shared.rowTurns[i] = 0;
                shared.columnTurns[i] = 0;
            }
        }
        else if (phase % 4 == 3)
        {
            turn(shared, plane, place.thread);
        }
        else if (phase % 4 == 0)
        {
            sort(shared, place.thread);
        }
        else
        {
            visit(shared, plane, out, y0, x0, place.thread);
        }
    }

private:
    // Where row or column i of the grid stands.
    LZU_HD static Pair placeOf(int i, float scale, float offset)
    {
        return productOf(scale, static_cast<float>(i)) + offset;
    }

    LZU_HD static Range blockRange(int first, int n, float scale, float offset)
    {
        int const last = first + SIDE < n ? first + SIDE - 1 : n - 1;
        Range range = Range::nothing();
        range.add(placeOf(first, scale, offset).high);
        range.add(placeOf(last, scale, offset).high);
        return range;
    }

    LZU_HD int words() const
    {
        return ceilDiv(rows * columns, 32);
    }

    LZU_HD void clear(Shared& shared, Point* out, int y0, int x0, int thread) const
    {
        if (thread == 0)
        {
            shared.cursor = 0;
        }
        for (int i = thread; i < SIDE; i += kTHREADS)
        {
            shared.rowPlaces[i] = placeOf(y0 + i, scaleY, offsetY);
            shared.columnPlaces[i] = placeOf(x0 + i, scaleX, offsetX);
        }
        for (int i = thread; i < SIDE * SIDE; i += kTHREADS)
        {
            int const x = x0 + i % SIDE;
            int const y = y0 + i / SIDE;
            shared.distances[i] = kNONE;
            if (x < width && y < height)
            {
                out[static_cast<int64_t>(y) * width + x] = {outside, outside};
            }
        }
    }

    LZU_HD void survey(Shared& shared, Plane const& plane, int y0, int thread) const
    {
        Range const block = blockRange(y0, height, scaleY, offsetY);
        for (int row = thread; row < rows; row += kTHREADS)
        {
            // The two rows of knots apart: two shorter chains of comparisons.
            Range above = Range::nothing();
            Range below = Range::nothing();
            for (int i = 0; i <= columns; ++i)
            {
                above.add(plane.at(row, i).y);
                below.add(plane.at(row + 1, i).y);
            }
            above.add(below.low);
            above.add(below.high);
            shared.rowMeets[row] = above.withSlack().meets(block) ? 1 : 0;
        }
    }

    // Range of one coordinate of a tile's four corners.
    template <float Point::*COORDINATE>
    LZU_HD static Range rangeOf(Corners const& corners)
    {
        Range range{corners.first.*COORDINATE, corners.first.*COORDINATE};
        range.add(corners.right.*COORDINATE);
        range.add(corners.below.*COORDINATE);
        range.add(corners.last.*COORDINATE);
        return range.withSlack();
    }

    // Each thread fills whole words, so no two write to one.
    LZU_HD void mark(Shared& shared, Plane const& plane, int y0, int x0, int thread) const
    {
        Range const blockX = blockRange(x0, width, scaleX, offsetX);
        Range const blockY = blockRange(y0, height, scaleY, offsetY);
        for (int word = thread; word < words(); word += kTHREADS)
        {
            uint32_t bits = 0;
            int const end = rows * columns - 32 * word < 32 ? rows * columns - 32 * word : 32;
            int row = 32 * word / columns;
            int column = 32 * word - row * columns;
            for (int bit = 0; bit < end; ++bit)
            {
                if (shared.rowMeets[row] != 0)
                {
                    Corners const corners = plane.cornersOf(row, column);
                    bool const meets
                        = rangeOf<&Point::x>(corners).meets(blockX) && rangeOf<&Point::y>(corners).meets(blockY);
                    bits |= meets ? 1U << static_cast<uint32_t>(bit) : 0U;
                }
                ++column;
                if (column == columns)
                {
                    column = 0;
                    ++row;
                }
            }
            shared.marked[word] = bits;
        }
    }

    LZU_HD static int lowestBit(uint64_t bits)
    {
#if defined(__CUDA_ARCH__)
        return __ffsll(static_cast<long long>(bits)) - 1;
#else
        return __builtin_ctzll(bits);
#endif
    }

    LZU_HD void list(Shared& shared) const
    {
        int count = 0;
        int word = shared.cursor;
        while (word < words() && count < kLISTED)
        {
            uint32_t const bits = shared.marked[word];
            if (bits == 0)
            {
                ++word;
                continue;
            }
            int const tile = 32 * word + lowestBit(bits);
            int const row = tile / columns;
            shared.marked[word] = bits & (bits - 1);
            shared.tileRows[count] = row;
            shared.tileColumns[count] = tile - row * columns;
            ++count;
        }
        shared.cursor = word;
        shared.count = count;
    }

    // Where each listed tile begins and ends among the block's lines of pixels, rather a line too much.
    LZU_HD void turn(Shared& shared, Plane const& plane, int thread) const
    {
        for (int i = thread; i < shared.count; i += kTHREADS)
        {
            uint64_t const bit = uint64_t{1} << i;
            Corners const corners = plane.cornersOf(shared.tileRows[i], shared.tileColumns[i]);
            turnBetween(shared.rowTurns, rangeOf<&Point::y>(corners), shared.rowPlaces[0].high, scaleY, bit);
            turnBetween(shared.columnTurns, rangeOf<&Point::x>(corners), shared.columnPlaces[0].high, scaleX, bit);
        }
    }

    LZU_HD static void turnBetween(uint64_t* turns, Range range, float start, float scale, uint64_t bit)
    {
        int first = 0;
        int end = SIDE;
        if (scale > 0.0F)
        {
            float const lines = 1.0F / scale;
            float const most = static_cast<float>(SIDE);
            float const low = smaller(larger((range.low - start) * lines - kLINE_SLACK, 0.0F), most);
            float const high = smaller(larger((range.high - start) * lines + (1.0F + kLINE_SLACK), 0.0F), most);
            first = static_cast<int>(low);
            first += static_cast<float>(first) < low ? 1 : 0;
            end = static_cast<int>(high);
        }
        if (first < end)
        {
            flip(turns[first], bit);
            flip(turns[end], bit);
        }
    }

    LZU_HD static void sort(Shared& shared, int thread)
    {
        for (int i = thread; i < 2 * SIDE; i += kTHREADS)
        {
            bool const isColumn = i < SIDE;
            int const line = isColumn ? i : i - SIDE;
            uint64_t const* const turns = isColumn ? shared.columnTurns : shared.rowTurns;
            uint64_t bits = 0;
            for (int each = 0; each <= line; ++each)
            {
                bits ^= turns[each];
            }
            (isColumn ? shared.byColumn : shared.byRow)[line] = bits;
        }
    }

    // The tile nearest to the point, the first of equals.
    LZU_HD void visit(Shared& shared, Plane const& plane, Point* out, int y0, int x0, int thread) const
    {
        for (int i = thread; i < SIDE * SIDE; i += kTHREADS)
        {
            int const x = x0 + i % SIDE;
            int const y = y0 + i / SIDE;
            uint64_t bits = shared.byColumn[i % SIDE] & shared.byRow[i / SIDE];
            if (x >= width || y >= height || bits == 0)
            {
                continue;
            }
            Pair const placeX = shared.columnPlaces[i % SIDE];
            Pair const placeY = shared.rowPlaces[i / SIDE];
            float nearest = shared.distances[i];
            for (; bits != 0 && nearest > 0.0F; bits &= bits - 1)
            {
                int const listed = lowestBit(bits);
                int const row = shared.tileRows[listed];
                int const column = shared.tileColumns[listed];
                Corners const corners = plane.cornersOf(row, column);
                Point const offset{-difference(placeX, corners.first.x), -difference(placeY, corners.first.y)};
                Tile const tile = Tile::of(corners.first, corners.right, corners.below, corners.last);
                Solution const found = tile.solve(offset);
                float const distance = tile.distance(offset, found);
                if (distance < nearest && distance <= kEDGE)
                {
                    nearest = distance;
                    out[static_cast<int64_t>(y) * width + x] = onCanvas(row, column, found);
                }
            }
            shared.distances[i] = nearest;
        }
    }

    LZU_HD Point onCanvas(int row, int column, Solution const& found) const
    {
        float const x = static_cast<float>(column) + clampUnit(found.u);
        float const y = static_cast<float>(row) + clampUnit(found.v);
        return {2.0F * x / static_cast<float>(columns) - 1.0F, 2.0F * y / static_cast<float>(rows) - 1.0F};
    }
};

} // namespace lzu
