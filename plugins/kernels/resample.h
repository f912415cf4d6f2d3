// Bilinear sampling of feature levels at a separable warp: the inversion of the warp and the sampling in one kernel,
// all levels in one launch.
//
// A block serves a tile of output cells of one level of one image, and a run of channels. In its first phase it
// computes the taps of the tile's rows and columns (tileX + tileY inversions instead of one per cell and channel); in
// its second each thread keeps the four addresses and weights of a cell and walks through channels with them.
#pragma once

#include "axis.h"
#include "launch.h"
#include "units.h"

namespace lzu
{

constexpr int kMAX_LEVELS = 8;
constexpr int kMAX_TILE = 64; // of tileX and of tileY

struct LevelPlan
{
    unsigned char const* input;
    unsigned char* output;
    AxisMap y;
    AxisMap x;
    int outHeight;
    int outWidth;
    int channels;
    int outer; // see units.h
    int inner;
    int tilesX;
    int tilesY;
    int runs;       // ceil(outer / runLength)
    int firstBlock; // of this level in the launch
};

// UNIT: see units.h. SPAN: neighbouring output cells of a thread. More than 1, where inner is 1, makes one 16-byte
// store of them.
template <class Unit, int SPAN>
struct Resample : Phases<2>
{
    static constexpr int kTHREADS = 256;
    static constexpr int kLANES = Unit::kLANES;
    // Channels in flight: the narrow units need several to keep enough loads under way.
    static constexpr int kUNROLL = kLANES * SPAN == 1 ? 4 : 1;

    struct Shared
    {
        Tap rows[kMAX_TILE];
        Tap columns[kMAX_TILE];
    };

    LevelPlan levels[kMAX_LEVELS];
    int levelCount;
    int tileX;
    int tileY;
    int runLength;

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int index = 0;
        while (index + 1 < levelCount && place.block >= levels[index + 1].firstBlock)
        {
            ++index;
        }
        LevelPlan const& level = levels[index];
        int rest = place.block - level.firstBlock;
        int const x0 = rest % level.tilesX * tileX;
        rest /= level.tilesX;
        int const y0 = rest % level.tilesY * tileY;
        rest /= level.tilesY;
        int const run = rest % level.runs;
        int const image = rest / level.runs;
        if (phase == 0)
        {
            tabulate(shared, level, image, y0, x0, place.thread);
        }
        else
        {
            sample(shared, level, image, y0, x0, run, place.thread);
        }
    }

    LZU_HD void tabulate(Shared& shared, LevelPlan const& level, int image, int y0, int x0, int thread) const
    {
        if (thread < tileX)
        {
            shared.columns[thread] = tapOf(level.x, image, x0 + thread);
        }
        else if (thread - tileX < tileY)
        {
            shared.rows[thread - tileX] = tapOf(level.y, image, y0 + thread - tileX);
        }
    }

    LZU_HD void sample(
        Shared const& shared, LevelPlan const& level, int image, int y0, int x0, int run, int thread) const
    {
        int const inCells = level.y.cells * level.x.cells;
        int const outCells = level.outHeight * level.outWidth;
        int const from = run * runLength;
        int const to = from + runLength < level.outer ? from + runLength : level.outer;
        int const strips = tileX / SPAN;
        for (int item = thread; item < strips * tileY * level.inner; item += kTHREADS)
        {
            int const i = item % level.inner;
            int const strip = item / level.inner;
            int const column = strip % strips * SPAN;
            int const row = strip / strips;
            int const x = x0 + column;
            int const y = y0 + row;
            if (x >= level.outWidth || y >= level.outHeight)
            {
                continue;
            }
            Tap const down = shared.rows[row];
            int64_t const group = static_cast<int64_t>(image) * level.outer + from;
            unsigned char const* input = level.input + (group * inCells * level.inner + i) * Unit::kBYTES;
            unsigned char* output
                = level.output + ((group * outCells + y * level.outWidth + x) * level.inner + i) * Unit::kBYTES;
            int64_t const inputStep = static_cast<int64_t>(inCells) * level.inner * Unit::kBYTES;
            int64_t const outputStep = static_cast<int64_t>(outCells) * level.inner * Unit::kBYTES;
            int const cellStep = level.inner * Unit::kBYTES;
            int const firstRow = down.first * level.x.cells * cellStep;
            int const secondRow = down.second * level.x.cells * cellStep;
            LZU_UNROLL(kUNROLL)
            for (int outer = from; outer < to; ++outer)
            {
                float sums[SPAN][kLANES];
                LZU_UNROLL(16)
                for (int s = 0; s < SPAN; ++s)
                {
                    Tap const across = shared.columns[column + s];
                    addTaps(sums[s], input, cellStep, firstRow, secondRow, down, across);
                    clearPadding(sums[s], level.channels, outer, level.inner, i);
                }
                write(output, sums, x, level.outWidth);
                input += inputStep;
                output += outputStep;
            }
        }
    }

private:
    LZU_HD static void addTaps(float* sums, unsigned char const* input, int cellStep, int firstRow, int secondRow,
        Tap const& down, Tap const& across)
    {
        LZU_UNROLL(16)
        for (int lane = 0; lane < kLANES; ++lane)
        {
            sums[lane] = 0.0F;
        }
        // A weight of 0 reads nothing: it is cheaper, and outside the map there may be nothing to read.
        float const weights[4] = {down.firstWeight * across.firstWeight, down.firstWeight * across.secondWeight,
            down.secondWeight * across.firstWeight, down.secondWeight * across.secondWeight};
        int const first = across.first * cellStep;
        int const second = across.second * cellStep;
        int const bytes[4] = {firstRow + first, firstRow + second, secondRow + first, secondRow + second};
        LZU_UNROLL(4)
        for (int tap = 0; tap < 4; ++tap)
        {
            if (weights[tap] != 0.0F)
            {
                Unit::accumulate(sums, input + bytes[tap], weights[tap]);
            }
        }
    }

    // Lanes beyond the last channel hold rubbish on the way in and zeros on the way out.
    LZU_HD static void clearPadding(float* sums, int channels, int outer, int inner, int i)
    {
        int const first = (outer * inner + i) * kLANES;
        if (kLANES > 1 && first + kLANES > channels)
        {
            LZU_UNROLL(16)
            for (int lane = 0; lane < kLANES; ++lane)
            {
                sums[lane] = first + lane < channels ? sums[lane] : 0.0F;
            }
        }
    }

    LZU_HD static void write(unsigned char* output, float const (*sums)[kLANES], int x, int outWidth)
    {
        if constexpr (SPAN == 1)
        {
            Unit::store(output, sums[0]);
        }
        else if (outWidth % SPAN == 0) // then every strip starts at a multiple of 16 bytes and lies in its row
        {
            static_assert(SPAN * Unit::kBYTES == 16, "a strip is one 16-byte store");
            Chunk<16> chunk;
            LZU_UNROLL(16)
            for (int s = 0; s < SPAN; ++s)
            {
                Unit::pack(chunk.words, s, sums[s]);
            }
            storeChunk<16>(output, chunk);
        }
        else
        {
            LZU_UNROLL(16)
            for (int s = 0; s < SPAN; ++s)
            {
                if (x + s < outWidth)
                {
                    Unit::store(output + s * Unit::kBYTES, sums[s]);
                }
            }
        }
    }
};

} // namespace lzu
