// From a camera's bytes to a network's input in one pass: zoom, normalise, pad, order the channels.
//
// The result is that of lzu_export.runtime.preprocess.ZoomedInput: sums of weighted pixels, times 1 / std, minus mean /
// std times the sum of the weights (less than 1 where the warp reaches beyond the picture), zeros in the padding. The
// weights may reach any number of pixels; camera_bilinear.h is quicker where they reach two of each axis.
#pragma once

#include "axis.h"
#include "launch.h"
#include "network_input.h"
#include "pixels.h"

namespace lzu
{

// The pixels that one output row or column sums up: linear weights around `whole + share` that reach 0 at a distance of
// 1 / inverse.
struct Hat
{
    int first;
    int last; // below first where nothing is summed
    float whole;
    float share;
    float inverse;
    float gain;
    float sum; // of the weights
};

// Positions are split in two floats, so that weights keep float's precision at any image size.
LZU_HD float hatWeight(Hat const& hat, int pixel)
{
    float const distance = fabsf((hat.whole - static_cast<float>(pixel)) + hat.share);
    return hat.gain * fmaxf(0.0F, fmaf(-distance, hat.inverse, 1.0F));
}

// Row or column `cell` of a resample table, 4 x mapped: floor, fraction, support, gain.
LZU_HD Hat hatOfTable(float const* table, int mapped, int pixels, int cell)
{
    float const support = table[2 * mapped + cell];
    Hat hat{0, -1, table[cell], table[mapped + cell], 1.0F / support, table[3 * mapped + cell], 0.0F};
    // Written so that NaN sums nothing and no conversion to int overflows.
    float const place = hat.whole + hat.share;
    if (support >= 1.0F && support < 1e6F && place > -1e6F && place < 1e6F && hat.gain != 0.0F)
    {
        // One float may be a little off the two: a pixel too many has weight 0, one too few would be missed.
        float const reach = support + 1e-3F;
        hat.first = clampInt(static_cast<int>(ceilf(place - reach)), 0, pixels);
        hat.last = clampInt(static_cast<int>(floorf(place + reach)), -1, pixels - 1);
    }
    return hat;
}

LZU_HD Hat hatOfKnots(AxisMap const& axis, int cell)
{
    Tap const tap = zoomTap(axis, axis.knots, cell);
    bool const nothing = tap.firstWeight == 0.0F && tap.secondWeight == 0.0F;
    int const first = tap.firstWeight != 0.0F ? tap.first : tap.second;
    int const last = tap.secondWeight != 0.0F ? tap.second : tap.first;
    float const whole = static_cast<float>(tap.secondWeight != 0.0F ? tap.second - 1 : tap.first);
    float const share = tap.secondWeight != 0.0F ? tap.secondWeight : 1.0F - tap.firstWeight;
    return {nothing ? 0 : first, nothing ? -1 : last, whole, share, 1.0F, 1.0F, 0.0F};
}

// A block makes a tile of the output: it sums rows of the picture first, for all columns that the tile needs, then
// columns of these sums. Columns that do not fit into shared memory at once are taken in chunks, whose sums then lie
// where lines begin.
template <class Pixels, class Out>
struct CameraZoom
{
    static constexpr int kTHREADS = 128;
    static constexpr int kTILE_X = 64;
    static constexpr int kTILE_Y = 16;
    static constexpr int kPAIRS = kTILE_Y / 2;      // rows are summed by twos, which share most of their pixels
    static constexpr int kTAPS = kTHREADS / kPAIRS; // weights of a pair that are kept; more are computed again
    static constexpr int kROWS = kTILE_X * kTILE_Y / kTHREADS; // of a thread, when it sums columns
    static constexpr int kCHANNELS = Pixels::kCHANNELS;
    static constexpr int kLINE = 448;                        // numbers of a summed row
    static constexpr int kSLACK = 2 * (Pixels::kVALUES - 1); // numbers of a line's ends that no column needs
    static constexpr int kSUMS = kTILE_X * kCHANNELS;
    static constexpr int kWHOLE = (kLINE - kSLACK) / kCHANNELS;        // columns, where one chunk is enough
    static constexpr int kPART = (kLINE - kSLACK - kSUMS) / kCHANNELS; // columns of one of several chunks

    struct alignas(8) Weights
    {
        float upper;
        float lower;
    };

    struct Shared
    {
        alignas(16) float lines[kTILE_Y][kLINE];
        Weights weights[kPAIRS][kTAPS];
        Hat rows[kTILE_Y];
        Hat columns[kTILE_X];
        int first; // of the picture's columns that the tile needs
        int last;
    };

    static_assert(kTAPS % 4 == 0, "weights are taken by fours");
    static_assert(sizeof(Shared) <= 48 * 1024, "static shared memory of a block is 48 KiB at most");

    Picture picture;
    float const* tableX; // null: knots
    float const* tableY;
    AxisMap x;
    AxisMap y;
    int tilesX;
    NetworkInput<Out> output;

    // Phases 0 and 1 prepare; 2 k + 2 sums rows of chunk k, 2 k + 3 columns.
    LZU_HD bool more(Shared const& shared, int phase) const
    {
        return phase < 4 || (phase - 2) / 2 < chunkCount(shared);
    }

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        switch (phase)
        {
        case 0: placeHats(shared, place); break;
        case 1: findWindow(shared, place); break;
        default:
            if (phase % 2 == 0)
            {
                sumRows(shared, place, (phase - 2) / 2);
            }
            else
            {
                sumColumns(shared, place, (phase - 2) / 2);
            }
        }
    }

private:
    // The picture's rows that a pair of output rows needs.
    struct Span
    {
        int first;
        int count;
    };

    // The picture's columns of a chunk, and where the first unit that holds them starts.
    struct Chunk
    {
        int first;
        int end;
        int start; // numbers from the row's start
        int units;
        int place; // of that unit in a line
    };

    LZU_HD static Hat hatOf(AxisMap const& axis, float const* table, int cell)
    {
        Hat hat{0, -1, 0.0F, 0.0F, 1.0F, 0.0F, 0.0F};
        if (cell < axis.mapped)
        {
            hat = table != nullptr ? hatOfTable(table, axis.mapped, axis.cells, cell) : hatOfKnots(axis, cell);
        }
        for (int pixel = hat.first; pixel <= hat.last; ++pixel)
        {
            hat.sum += hatWeight(hat, pixel);
        }
        return hat;
    }

    LZU_HD void placeHats(Shared& shared, Place place) const
    {
        if (place.thread < kTILE_X)
        {
            int const x0 = place.block % tilesX * kTILE_X;
            shared.columns[place.thread] = hatOf(x, tableX, x0 + place.thread);
        }
        else if (place.thread < kTILE_X + kTILE_Y)
        {
            int const y0 = place.block / tilesX * kTILE_Y;
            shared.rows[place.thread - kTILE_X] = hatOf(y, tableY, y0 + place.thread - kTILE_X);
        }
        else if (place.thread == kTHREADS - 1)
        {
            shared.first = x.cells;
            shared.last = -1;
        }
    }

    LZU_HD void findWindow(Shared& shared, Place place) const
    {
        if (place.thread < kTILE_X && shared.columns[place.thread].first <= shared.columns[place.thread].last)
        {
            lowerTo(shared.first, shared.columns[place.thread].first);
            raiseTo(shared.last, shared.columns[place.thread].last);
        }
        int const pair = place.thread / kTAPS;
        int const tap = place.thread % kTAPS;
        shared.weights[pair][tap] = weightsOf(shared, pair, spanOf(shared, pair).first + tap);
    }

    LZU_HD static Span spanOf(Shared const& shared, int pair)
    {
        Hat const& upper = shared.rows[2 * pair];
        Hat const& lower = shared.rows[2 * pair + 1];
        if (upper.first > upper.last || lower.first > lower.last)
        {
            Hat const& only = upper.first > upper.last ? lower : upper;
            return {only.first, only.last - only.first + 1}; // 0 or less: none at all
        }
        int const first = upper.first < lower.first ? upper.first : lower.first;
        int const last = upper.last > lower.last ? upper.last : lower.last;
        return {first, last - first + 1};
    }

    LZU_HD static float weightWithin(Hat const& hat, int pixel)
    {
        return pixel >= hat.first && pixel <= hat.last ? hatWeight(hat, pixel) : 0.0F;
    }

    LZU_HD static Weights weightsOf(Shared const& shared, int pair, int row)
    {
        return {weightWithin(shared.rows[2 * pair], row), weightWithin(shared.rows[2 * pair + 1], row)};
    }

    LZU_HD static int chunkCount(Shared const& shared)
    {
        int const columns = shared.last - shared.first + 1;
        return columns <= kWHOLE ? 1 : ceilDiv(columns, kPART);
    }

    LZU_HD Chunk chunkOf(Shared const& shared, int number) const
    {
        Chunk chunk{shared.first, shared.last + 1, 0, 0, 0};
        if (chunk.end - chunk.first > kWHOLE)
        {
            chunk.first += number * kPART;
            chunk.end = chunk.end < chunk.first + kPART ? chunk.end : chunk.first + kPART;
            chunk.place = kSUMS;
        }
        int const lead = Pixels::lead(picture);
        int const before = (chunk.first * kCHANNELS - lead) / Pixels::kVALUES;
        chunk.start = before * Pixels::kVALUES + lead;
        chunk.units = chunk.end <= chunk.first ? 0 : (chunk.end * kCHANNELS - 1 - lead) / Pixels::kVALUES - before + 1;
        return chunk;
    }

    LZU_HD void sumRows(Shared& shared, Place place, int number) const
    {
        Chunk const chunk = chunkOf(shared, number);
        int unit = place.thread;
        for (int pair = 0; chunk.units > 0; unit += kTHREADS)
        {
            for (; unit >= chunk.units; unit -= chunk.units)
            {
                ++pair;
            }
            if (pair >= kPAIRS)
            {
                break;
            }
            float upper[Pixels::kVALUES];
            float lower[Pixels::kVALUES];
            sumUnit(shared, pair, chunk.start + unit * Pixels::kVALUES, upper, lower);
            int const at = chunk.place + unit * Pixels::kVALUES;
            LZU_UNROLL(12)
            for (int i = 0; i < Pixels::kVALUES; ++i)
            {
                shared.lines[2 * pair][at + i] = upper[i];
                shared.lines[2 * pair + 1][at + i] = lower[i];
            }
        }
    }

    LZU_HD void sumUnit(Shared const& shared, int pair, int start, float (&upper)[Pixels::kVALUES],
        float (&lower)[Pixels::kVALUES]) const
    {
        LZU_UNROLL(12)
        for (int i = 0; i < Pixels::kVALUES; ++i)
        {
            upper[i] = 0.0F;
            lower[i] = 0.0F;
        }
        Pixels const pixels(picture, start);
        Span const span = spanOf(shared, pair);
        if (pixels.isWhole())
        {
            for (int tap = 0; tap < span.count; tap += 4)
            {
                addFour(shared, pixels, pair, span.first, tap, upper, lower);
            }
            return;
        }
        LZU_UNROLL(1)
        for (int tap = 0; tap < span.count; ++tap)
        {
            Weights const weights = tap < kTAPS ? shared.weights[pair][tap] : weightsOf(shared, pair, span.first + tap);
            if (isRead(weights))
            {
                add(pixels.readBytes(span.first + tap), weights, upper, lower);
            }
        }
    }

    // Four rows, so that four reads are under way together. In place of a row of weight 0, as behind the last, the
    // first is read again, which lies in the cache.
    LZU_HD static void addFour(Shared const& shared, Pixels const& pixels, int pair, int first, int tap,
        float (&upper)[Pixels::kVALUES], float (&lower)[Pixels::kVALUES])
    {
        Weights weights[4];
        typename Pixels::Raw raw[4];
        if (tap < kTAPS) // of which four are a part
        {
            LZU_UNROLL(4)
            for (int i = 0; i < 4; ++i)
            {
                weights[i] = shared.weights[pair][tap + i];
            }
        }
        else
        {
            LZU_UNROLL(4)
            for (int i = 0; i < 4; ++i)
            {
                weights[i] = weightsOf(shared, pair, first + tap + i);
            }
        }
        LZU_UNROLL(4)
        for (int i = 0; i < 4; ++i)
        {
            raw[i] = pixels.readWords(isRead(weights[i]) ? first + tap + i : first);
        }
        LZU_UNROLL(4)
        for (int i = 0; i < 4; ++i)
        {
            if (!Pixels::kSKIPS || isRead(weights[i]))
            {
                add(raw[i], weights[i], upper, lower);
            }
        }
    }

    LZU_HD static bool isRead(Weights weights)
    {
        return weights.upper != 0.0F || weights.lower != 0.0F;
    }

    LZU_HD static void add(
        typename Pixels::Raw raw, Weights weights, float (&upper)[Pixels::kVALUES], float (&lower)[Pixels::kVALUES])
    {
        float values[Pixels::kVALUES];
        Pixels::toFloats(raw, values);
        LZU_UNROLL(12)
        for (int i = 0; i < Pixels::kVALUES; ++i)
        {
            upper[i] = fmaf(weights.upper, values[i], upper[i]);
            lower[i] = fmaf(weights.lower, values[i], lower[i]);
        }
    }

    // A thread has one column and every other row, for which it computes weights once.
    LZU_HD void sumColumns(Shared& shared, Place place, int number) const
    {
        Chunk const chunk = chunkOf(shared, number);
        int const column = place.thread % kTILE_X;
        int const top = place.thread / kTILE_X;
        Hat const hat = shared.columns[column];
        float sums[kROWS][kCHANNELS];
        LZU_UNROLL(8)
        for (int i = 0; i < kROWS; ++i)
        {
            LZU_UNROLL(3)
            for (int c = 0; c < kCHANNELS; ++c)
            {
                sums[i][c] = number > 0 ? shared.lines[rowOf(top, i)][column * kCHANNELS + c] : 0.0F;
            }
        }
        int const first = hat.first > chunk.first ? hat.first : chunk.first;
        int const end = hat.last < chunk.end ? hat.last + 1 : chunk.end;
        for (int pixel = first; pixel < end; ++pixel)
        {
            float const weight = hatWeight(hat, pixel);
            int const at = chunk.place + pixel * kCHANNELS - chunk.start;
            LZU_UNROLL(8)
            for (int i = 0; i < kROWS; ++i)
            {
                LZU_UNROLL(3)
                for (int c = 0; c < kCHANNELS; ++c)
                {
                    sums[i][c] = fmaf(weight, shared.lines[rowOf(top, i)][at + c], sums[i][c]);
                }
            }
        }
        bool const isLast = number + 1 == chunkCount(shared);
        LZU_UNROLL(8)
        for (int i = 0; i < kROWS; ++i)
        {
            int const row = rowOf(top, i);
            if (isLast)
            {
                output.write(sums[i], shared.rows[row].sum * hat.sum, place.block / tilesX * kTILE_Y + row,
                    place.block % tilesX * kTILE_X + column);
            }
            else
            {
                LZU_UNROLL(3)
                for (int c = 0; c < kCHANNELS; ++c)
                {
                    shared.lines[row][column * kCHANNELS + c] = sums[i][c];
                }
            }
        }
    }

    LZU_HD static int rowOf(int top, int i)
    {
        return top + i * (kTHREADS / kTILE_X);
    }
};

} // namespace lzu
