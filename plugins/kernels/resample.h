// Bilinear sampling of feature levels at a separable warp: the inversion of the warp and the sampling in one kernel,
// all levels in one launch.
//
// A block serves a tile of output cells of one level of one image, and a run of channels. In its first phase it
// computes the taps of the tile's rows and columns (tileX + tileY inversions instead of one per cell and channel); in
// its second each thread keeps the four addresses and weights of a cell and walks through channels with them. The
// loads of all four taps are under way before the first is used.
#pragma once

#include "axis.h"
#include "launch.h"
#include "units.h"

namespace lzu
{

constexpr int kMAX_LEVELS = 8;
constexpr int kMAX_TILE = 64; // of tileX and of tileY

// Division of numbers from 0 to 2^31 - 1 by a multiplication, where a device would take twenty instructions.
struct Divisor
{
    uint32_t value;
    uint32_t magic;
    uint32_t shift;

    LZU_HD static Divisor of(int value)
    {
        Divisor made{static_cast<uint32_t>(value), 0, 0};
        while ((uint64_t{1} << made.shift) < made.value)
        {
            ++made.shift;
        }
        uint64_t const beyond = (uint64_t{1} << made.shift) - made.value;
        made.magic = static_cast<uint32_t>((beyond << 32U) / made.value + 1);
        return made;
    }

    LZU_HD uint32_t quotient(uint32_t number) const
    {
#if defined(__CUDA_ARCH__)
        uint32_t const high = __umulhi(number, magic);
#else
        auto const high = static_cast<uint32_t>((static_cast<uint64_t>(number) * magic) >> 32U);
#endif
        return (high + number) >> shift;
    }

    // Takes the remainder of a number and leaves its quotient.
    LZU_HD int cut(int& number) const
    {
        uint32_t const whole = quotient(static_cast<uint32_t>(number));
        int const rest = static_cast<int>(static_cast<uint32_t>(number) - whole * value);
        number = static_cast<int>(whole);
        return rest;
    }
};

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
    Divisor tilesX;
    Divisor tilesY;
    Divisor runs;   // ceil(outer / runLength)
    Divisor units;  // inner
    int firstBlock; // of this level in the launch
};

// UNIT: see units.h. SPAN: neighbouring output cells of a thread. More than 1, where inner is 1, makes one store of 8 or
// 16 bytes of them.
template <class Unit, int SPAN>
struct Resample : Phases<2>
{
    static constexpr int kTHREADS = 256;
    static constexpr int kLANES = Unit::kLANES;
    // Groups of channels in flight: the narrow units need several to keep enough loads under way.
    static constexpr int kGROUPS = kLANES * SPAN == 1 ? 4 : 1;
    using Raw = typename Unit::Raw;
    using Packed = Chunk<SPAN * Unit::kBYTES < 4 ? 4 : SPAN * Unit::kBYTES>; // a strip

    struct Shared
    {
        Tap taps[2 * kMAX_TILE]; // of the tile's columns, then of its rows
    };

    LevelPlan levels[kMAX_LEVELS];
    int levelCount;
    int tileX;
    int tileY;
    int stripBits; // a row of the tile has 2^stripBits strips of SPAN cells
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
        int const x0 = level.tilesX.cut(rest) * tileX;
        int const y0 = level.tilesY.cut(rest) * tileY;
        int const run = level.runs.cut(rest);
        int const image = rest;
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
        if (thread < tileX + tileY)
        {
            bool const isColumn = thread < tileX;
            int const cell = isColumn ? x0 + thread : y0 + thread - tileX;
            shared.taps[thread] = tapOf(isColumn ? level.x : level.y, image, cell);
        }
    }

    LZU_HD void sample(
        Shared const& shared, LevelPlan const& level, int image, int y0, int x0, int run, int thread) const
    {
        int const inCells = level.y.cells * level.x.cells;
        int const outCells = level.outHeight * level.outWidth;
        int const from = run * runLength;
        int const to = from + runLength < level.outer ? from + runLength : level.outer;
        int const cellStep = level.inner * Unit::kBYTES;
        int64_t const inputStep = static_cast<int64_t>(inCells) * cellStep;
        int64_t const outputStep = static_cast<int64_t>(outCells) * cellStep;
        int64_t const group = static_cast<int64_t>(image) * level.outer + from;
        unsigned char const* const inputs = level.input + group * inputStep;
        unsigned char* const outputs = level.output + group * outputStep;
        int const strips = tileY << stripBits;
        // Units of a cell lie side by side: a thread starts at one and goes on by as many as there are threads.
        int strip = thread;
        int i = level.units.cut(strip);
        int stepStrips = kTHREADS;
        int const stepUnits = level.units.cut(stepStrips);
        while (strip < strips)
        {
            int const column = (strip & ((1 << stripBits) - 1)) * SPAN;
            int const row = strip >> stripBits;
            int const x = x0 + column;
            int const y = y0 + row;
            if (x < level.outWidth && y < level.outHeight)
            {
                int const unit = i * Unit::kBYTES;
                Strip const at{inputs + unit, outputs + static_cast<int64_t>(y * level.outWidth + x) * cellStep + unit,
                    inputStep, outputStep, from, to};
                Tap const* const across = shared.taps + column;
                Tap const& down = shared.taps[tileX + row];
                if constexpr (SPAN == 1)
                {
                    walkCell(level, Taps(across[0], down, level.x.cells, cellStep), at, i);
                }
                else
                {
                    walkStrip(level, across, down, cellStep, at, x);
                }
            }
            strip += stepStrips;
            i += stepUnits;
            if (i >= level.inner)
            {
                i -= level.inner;
                ++strip;
            }
        }
    }

private:
    // A thread's place in the first group of channels of its run, and the way to the next.
    struct Strip
    {
        unsigned char const* input;
        unsigned char* output;
        int64_t inputStep;
        int64_t outputStep;
        int from;
        int to;
    };

    // The four taps of a cell: bytes from the start of a plane, and weights.
    struct Taps
    {
        int bytes[4];
        float weights[4];

        LZU_HD Taps(Tap const& across, Tap const& down, int width, int cellStep)
            : bytes{(down.first * width + across.first) * cellStep, (down.first * width + across.second) * cellStep,
                (down.second * width + across.first) * cellStep, (down.second * width + across.second) * cellStep}
            , weights{down.firstWeight * across.firstWeight, down.firstWeight * across.secondWeight,
                  down.secondWeight * across.firstWeight, down.secondWeight * across.secondWeight}
        {
        }
    };

    // Samples a unit of one cell in all groups of channels of the run, kGROUPS at a time.
    LZU_HD static void walkCell(LevelPlan const& level, Taps const& taps, Strip at, int i)
    {
        for (int outer = at.from; outer < at.to; outer += kGROUPS)
        {
            Raw raws[kGROUPS][4];
            LZU_UNROLL(4)
            for (int g = 0; g < kGROUPS; ++g)
            {
                load(raws[g], taps, at.input, kGROUPS == 1 || outer + g < at.to);
                at.input += at.inputStep;
            }
            LZU_UNROLL(4)
            for (int g = 0; g < kGROUPS; ++g)
            {
                if (kGROUPS == 1 || outer + g < at.to)
                {
                    float sums[kLANES];
                    add(sums, raws[g], taps.weights);
                    clearPadding(sums, level.channels, outer + g, level.inner, i);
                    Unit::store(at.output, sums);
                }
                at.output += at.outputStep;
            }
        }
    }

    // Samples the cells of a strip. Their taps are made anew for every group of channels: they are too many to keep.
    LZU_HD static void walkStrip(
        LevelPlan const& level, Tap const* across, Tap const& down, int cellStep, Strip at, int x)
    {
        for (int outer = at.from; outer < at.to; ++outer)
        {
            Packed chunk;
            LZU_UNROLL(8)
            for (int s = 0; s < SPAN; ++s)
            {
                Taps const taps(across[s], down, level.x.cells, cellStep);
                Raw raws[4];
                load(raws, taps, at.input, true);
                float sums[kLANES];
                add(sums, raws, taps.weights);
                clearPadding(sums, level.channels, outer, level.inner, 0);
                Unit::pack(chunk.words, s, sums);
            }
            write(at.output, chunk, x, level.outWidth);
            at.input += at.inputStep;
            at.output += at.outputStep;
        }
    }

    // A weight of 0 reads nothing: it is cheaper, and outside the map there may be nothing to read.
    LZU_HD static void load(Raw* raws, Taps const& taps, unsigned char const* input, bool isWanted)
    {
        LZU_UNROLL(4)
        for (int tap = 0; tap < 4; ++tap)
        {
            raws[tap] = Raw{};
            if (taps.weights[tap] != 0.0F && isWanted)
            {
                raws[tap] = Unit::load(input + taps.bytes[tap]);
            }
        }
    }

    LZU_HD static void add(float* sums, Raw const* raws, float const* weights)
    {
        LZU_UNROLL(16)
        for (int lane = 0; lane < kLANES; ++lane)
        {
            sums[lane] = 0.0F;
        }
        LZU_UNROLL(4)
        for (int tap = 0; tap < 4; ++tap)
        {
            Unit::accumulate(sums, raws[tap], weights[tap]);
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

    LZU_HD static void write(unsigned char* output, Packed const& chunk, int x, int outWidth)
    {
        if (outWidth % SPAN == 0) // then every strip starts at a multiple of its own bytes and lies in its row
        {
            storeChunk(output, chunk);
            return;
        }
        LZU_UNROLL(8)
        for (int s = 0; s < SPAN; ++s)
        {
            if (x + s < outWidth)
            {
                storePart<Unit::kBYTES>(output, chunk, s);
            }
        }
    }
};

} // namespace lzu
