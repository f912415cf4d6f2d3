// From a camera's bytes to a network's input in one pass: zoom, normalise, pad, order the channels.
//
// The result is that of lzu_export.runtime.preprocess.ZoomedInput: sums of weighted pixels, times 1 / std, minus mean /
// std times the sum of the weights (less than 1 where the warp reaches beyond the picture), zeros in the padding.
#pragma once

#include "axis.h"
#include "half.h"
#include "launch.h"

namespace lzu
{

// The pixels that one output row or column sums up: linear weights of half width `support` around `whole + share`.
struct Hat
{
    int first;
    int last; // below first where nothing is summed
    float whole;
    float share;
    float support;
    float gain;
};

// Positions are split in two floats, so that weights keep float's precision at any image size.
LZU_HD float hatWeight(Hat const& hat, int pixel)
{
    float const distance = fabsf((hat.whole - static_cast<float>(pixel)) + hat.share);
    return hat.gain * fmaxf(0.0F, 1.0F - distance / hat.support);
}

// Row or column `cell` of a resample table, 4 x mapped: floor, fraction, support, gain.
LZU_HD Hat hatOfTable(float const* table, int mapped, int pixels, int cell)
{
    Hat hat{0, -1, table[cell], table[mapped + cell], table[2 * mapped + cell], table[3 * mapped + cell]};
    // Written so that NaN sums nothing and no conversion to int overflows.
    float const place = hat.whole + hat.share;
    if (hat.support >= 1.0F && hat.support < 1e6F && place > -1e6F && place < 1e6F && hat.gain != 0.0F)
    {
        // One float may be a little off the two: a pixel too many has weight 0, one too few would be missed.
        float const reach = hat.support + 1e-3F;
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
    return {nothing ? 0 : first, nothing ? -1 : last, whole, share, 1.0F, 1.0F};
}

struct Colour
{
    float channels[3]; // blue, green, red
};

// BT.601, limited range, in the fixed-point numbers that OpenCV uses, so that both give the same bytes.
LZU_HD float yuvByte(int scaled)
{
    return static_cast<float>(clampInt((scaled + (1 << 19)) >> 20, 0, 255));
}

LZU_HD Colour colourOfYuv(int luma, int blueness, int redness)
{
    int const y = (luma > 16 ? luma - 16 : 0) * 1220542;
    int const u = blueness - 128;
    int const v = redness - 128;
    return {{yuvByte(y + 2116026 * u), yuvByte(y - 409993 * u - 852492 * v), yuvByte(y + 1673527 * v)}};
}

template <class Out>
struct CameraZoom : Phases<2>
{
    static constexpr int kTHREADS = 256;
    static constexpr int kTILE_X = 64;
    static constexpr int kTILE_Y = 16;

    struct Shared
    {
        Hat rows[kTILE_Y];
        Hat columns[kTILE_X];
    };

    uint8_t const* pixels;
    uint8_t const* chroma; // null for packed pixels
    int pitch;
    int reduce;
    int swap;            // the first byte of a pixel belongs to the last output channel
    float const* tableX; // null: knots
    float const* tableY;
    AxisMap x;
    AxisMap y;
    int outHeight;
    int outWidth;
    int tilesX;
    float scale[3]; // of the output's channels
    float shift[3];
    Out* output;

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int const x0 = place.block % tilesX * kTILE_X;
        int const y0 = place.block / tilesX * kTILE_Y;
        if (phase == 0)
        {
            if (place.thread < kTILE_X)
            {
                shared.columns[place.thread] = hatOf(x, tableX, x0 + place.thread);
            }
            else if (place.thread < kTILE_X + kTILE_Y)
            {
                shared.rows[place.thread - kTILE_X] = hatOf(y, tableY, y0 + place.thread - kTILE_X);
            }
            return;
        }
        for (int item = place.thread; item < kTILE_X * kTILE_Y; item += kTHREADS)
        {
            int const column = item % kTILE_X;
            int const row = item / kTILE_X;
            if (x0 + column < outWidth && y0 + row < outHeight)
            {
                write(shared.rows[row], shared.columns[column], y0 + row, x0 + column);
            }
        }
    }

private:
    LZU_HD static Hat hatOf(AxisMap const& axis, float const* table, int cell)
    {
        if (cell >= axis.mapped)
        {
            return {0, -1, 0.0F, 0.0F, 1.0F, 0.0F};
        }
        return table != nullptr ? hatOfTable(table, axis.mapped, axis.cells, cell) : hatOfKnots(axis, cell);
    }

    LZU_HD Colour read(int row, int column) const
    {
        int64_t const line = static_cast<int64_t>(row) * reduce;
        int const place = column * reduce;
        if (chroma == nullptr)
        {
            uint8_t const* const at = pixels + line * pitch + 3 * place;
            return {{static_cast<float>(at[0]), static_cast<float>(at[1]), static_cast<float>(at[2])}};
        }
        uint8_t const* const at = chroma + line / 2 * pitch + place / 2 * 2;
        return colourOfYuv(pixels[line * pitch + place], at[0], at[1]);
    }

    LZU_HD void write(Hat const& down, Hat const& across, int row, int column) const
    {
        float sums[3] = {0.0F, 0.0F, 0.0F};
        float weights = 0.0F;
        for (int i = down.first; i <= down.last; ++i)
        {
            float const weightY = hatWeight(down, i);
            for (int j = across.first; j <= across.last; ++j)
            {
                float const weight = weightY * hatWeight(across, j);
                Colour const colour = read(i, j);
                weights += weight;
                LZU_UNROLL(3)
                for (int c = 0; c < 3; ++c)
                {
                    sums[c] = fmaf(weight, colour.channels[c], sums[c]);
                }
            }
        }
        int64_t const plane = static_cast<int64_t>(outHeight) * outWidth;
        int64_t const at = static_cast<int64_t>(row) * outWidth + column;
        LZU_UNROLL(3)
        for (int c = 0; c < 3; ++c)
        {
            float const sum = swap != 0 ? sums[2 - c] : sums[c];
            put(output + c * plane + at, fmaf(sum, scale[c], shift[c] * weights));
        }
    }

    LZU_HD static void put(float* place, float value)
    {
        *place = value;
    }

    LZU_HD static void put(Half* place, float value)
    {
        *place = toHalf(value);
    }
};

} // namespace lzu
