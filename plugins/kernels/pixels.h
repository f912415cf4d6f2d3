// A camera's picture in memory, and how its kinds of pixels are read: several at once, as numbers of colours.
#pragma once

#include "portable.h"

namespace lzu
{

// The camera's picture in memory.
struct Picture
{
    uint8_t const* pixels;
    uint8_t const* chroma; // NV12
    int pitch;
    int reduce;
    int width;
    int words; // 1: rows start alike to multiples of 4 bytes and hold every pixel, so 4 bytes can be read at once

    LZU_HD uint8_t const* rowOf(uint8_t const* plane, int line) const
    {
        return plane + static_cast<uint64_t>(static_cast<uint32_t>(line)) * static_cast<uint32_t>(pitch);
    }
};

LZU_HD uint32_t wordAt(uint8_t const* place)
{
    return *reinterpret_cast<uint32_t const*>(place);
}

// Byte k of a word as a float. A device puts it into the mantissa of 2^23, which is quicker than a conversion.
LZU_HD float byteOf(uint32_t word, int k)
{
#if defined(__CUDA_ARCH__)
    return __uint_as_float(__byte_perm(word, 0x4B000000U, 0x7440U | static_cast<uint32_t>(k))) - 8388608.0F;
#else
    return static_cast<float>((word >> (8 * k)) & 0xFFU);
#endif
}

LZU_HD int intByteOf(uint32_t word, int k)
{
    return static_cast<int>((word >> (8 * k)) & 0xFFU);
}

// A colour's byte of a sum in 2^-20; between -2^21 and 2^21 before it is cut to a byte.
LZU_HD float yuvByte(int scaled)
{
#if defined(__CUDA_ARCH__)
    float const value = __int_as_float(0x4B400000 + (scaled >> 20)) - 12582912.0F; // in the mantissa of 1.5 * 2^23
#else
    float const value = static_cast<float>(scaled >> 20);
#endif
    return fminf(fmaxf(value, 0.0F), 255.0F);
}

// The parts of BT.601, limited range, that a pixel's luma and its chroma contribute, in the fixed-point numbers that
// OpenCV uses, so that both give the same bytes.
struct ChromaShare
{
    int blue;
    int green;
    int red;
};

// Products of the bytes as they are: the one constant of each colour takes off those of 128 and of a luma of 16, and
// rounds.
LZU_HD ChromaShare chromaShareOf(int blueness, int redness)
{
    constexpr int kFIXED = (1 << 19) - 16 * 1220542;
    constexpr int kBLUE = kFIXED - 128 * 2116026;
    constexpr int kGREEN = kFIXED + 128 * (409993 + 852492);
    constexpr int kRED = kFIXED - 128 * 1673527;
    return {2116026 * blueness + kBLUE, -409993 * blueness - 852492 * redness + kGREEN, 1673527 * redness + kRED};
}

LZU_HD int lumaShareOf(int luma)
{
    return (luma > 16 ? luma : 16) * 1220542;
}

// Kinds of pixels, one at a time, read byte by byte wherever they lie. `toFloats` gives their colours in their order.

// Packed bytes: blue, green, red, or red, green, blue, or grey alone.
template <int CHANNELS>
struct PackedPixel
{
    static constexpr int kCHANNELS = CHANNELS;

    uint8_t bytes[CHANNELS];

    LZU_HD static PackedPixel read(Picture const& picture, int row, int column)
    {
        uint8_t const* const place = picture.rowOf(picture.pixels, row) + CHANNELS * column;
        PackedPixel pixel;
        LZU_UNROLL(CHANNELS)
        for (int c = 0; c < CHANNELS; ++c)
        {
            pixel.bytes[c] = place[c];
        }
        return pixel;
    }

    LZU_HD void toFloats(float (&values)[CHANNELS]) const
    {
        LZU_UNROLL(CHANNELS)
        for (int c = 0; c < CHANNELS; ++c)
        {
            values[c] = byteOf(bytes[c], 0);
        }
    }
};

// NV12, to be blue, green and red. Rows of chroma start at even addresses.
struct Nv12Pixel
{
    static constexpr int kCHANNELS = 3;

    uint8_t luma;
    uint16_t chroma; // Cb in the low byte, Cr in the high one

    LZU_HD static Nv12Pixel read(Picture const& picture, int row, int column)
    {
        uint8_t const* const both = picture.rowOf(picture.chroma, row >> 1) + (column & ~1);
        return {picture.rowOf(picture.pixels, row)[column], *reinterpret_cast<uint16_t const*>(both)};
    }

    LZU_HD void toFloats(float (&values)[kCHANNELS]) const
    {
        ChromaShare const share = chromaShareOf(chroma & 0xFF, chroma >> 8);
        int const bright = lumaShareOf(luma);
        values[0] = yuvByte(bright + share.blue);
        values[1] = yuvByte(bright + share.green);
        values[2] = yuvByte(bright + share.red);
    }
};

// Kinds of pixels, several at a time. A unit is what a thread reads of a row at once; it holds kVALUES numbers,
// neighbours in a row whose pixels lie one after another with kCHANNELS numbers each.

// Packed bytes: blue, green, red, or red, green, blue, or grey alone. A unit is 4 bytes.
template <int CHANNELS>
struct Packed
{
    static constexpr int kCHANNELS = CHANNELS;
    static constexpr int kVALUES = 4;
    static constexpr bool kSKIPS = false; // a row of weight 0 costs less than the branch around it

    struct Raw
    {
        uint32_t bytes;
    };

    // Numbers from the row's start to its first unit: 0 or less.
    LZU_HD static int lead(Picture const& picture)
    {
        return picture.words != 0 ? -static_cast<int>(reinterpret_cast<uintptr_t>(picture.pixels) & 3U) : 0;
    }

    LZU_HD Packed(Picture const& picture, int number)
        : mPicture(picture)
        , mNumber(number)
        , mWhole(picture.words != 0 && number >= 0 && number + kVALUES <= CHANNELS * picture.width)
    {
    }

    LZU_HD bool isWhole() const
    {
        return mWhole;
    }

    LZU_HD Raw readWords(int row) const
    {
        return {wordAt(mPicture.rowOf(mPicture.pixels + mNumber, row))};
    }

    // Byte by byte, and none beyond the picture.
    LZU_HD Raw readBytes(int row) const
    {
        uint8_t const* const line = mPicture.rowOf(mPicture.pixels, row * mPicture.reduce);
        uint32_t word = 0;
        LZU_UNROLL(kVALUES)
        for (int i = 0; i < kVALUES; ++i)
        {
            int const number = mNumber + i;
            if (number >= 0 && number < CHANNELS * mPicture.width)
            {
                int const pixel = number / CHANNELS;
                int const byte = CHANNELS * pixel * mPicture.reduce + (number - CHANNELS * pixel);
                word |= static_cast<uint32_t>(line[byte]) << (8 * i);
            }
        }
        return {word};
    }

    LZU_HD static void toFloats(Raw raw, float (&values)[kVALUES])
    {
        LZU_UNROLL(kVALUES)
        for (int i = 0; i < kVALUES; ++i)
        {
            values[i] = byteOf(raw.bytes, i);
        }
    }

private:
    Picture const& mPicture;
    int mNumber;
    bool mWhole;
};

// NV12: a unit is 4 pixels, to be blue, green and red. Without `reduce` (PAIRS) two neighbours share their chroma.
template <bool PAIRS>
struct Nv12
{
    static constexpr int kCHANNELS = 3;
    static constexpr int kVALUES = 12;
    static constexpr bool kSKIPS = true;

    struct Raw
    {
        uint32_t luma;
        uint32_t chroma; // of pixels 0 and 1, or, with PAIRS, of both pairs
        uint32_t later;  // of pixels 2 and 3; not with PAIRS
    };

    LZU_HD static int lead(Picture const& picture)
    {
        return picture.words != 0 ? -3 * static_cast<int>(reinterpret_cast<uintptr_t>(picture.pixels) & 3U) : 0;
    }

    LZU_HD Nv12(Picture const& picture, int number)
        : mPicture(picture)
        , mPixel(number / 3)
        , mWhole(PAIRS && picture.words != 0 && number >= 0 && mPixel + 4 <= picture.width)
    {
    }

    LZU_HD bool isWhole() const
    {
        return mWhole;
    }

    LZU_HD Raw readWords(int row) const
    {
        return {wordAt(mPicture.rowOf(mPicture.pixels + mPixel, row)),
            wordAt(mPicture.rowOf(mPicture.chroma + mPixel, row / 2)), 0};
    }

    LZU_HD Raw readBytes(int row) const
    {
        int const line = row * mPicture.reduce;
        uint8_t const* const lumas = mPicture.rowOf(mPicture.pixels, line);
        uint8_t const* const chromas = mPicture.rowOf(mPicture.chroma, line / 2);
        uint32_t luma = 0;
        uint32_t chroma[2] = {0, 0};
        LZU_UNROLL(4)
        for (int i = 0; i < 4; ++i)
        {
            int const place = (mPixel + i) * mPicture.reduce;
            if (mPixel + i >= 0 && mPixel + i < mPicture.width)
            {
                luma |= static_cast<uint32_t>(lumas[place]) << (8 * i);
                if (!PAIRS || i % 2 == 0) // mPixel is even
                {
                    uint8_t const* const at = chromas + place / 2 * 2;
                    uint32_t const both = at[0] | static_cast<uint32_t>(at[1]) << 8;
                    chroma[PAIRS ? 0 : i / 2] |= both << (PAIRS ? i / 2 * 16 : i % 2 * 16);
                }
            }
        }
        return {luma, chroma[0], chroma[1]};
    }

    LZU_HD static void toFloats(Raw raw, float (&values)[kVALUES])
    {
        ChromaShare share{};
        LZU_UNROLL(4)
        for (int i = 0; i < 4; ++i)
        {
            if (!PAIRS || i % 2 == 0)
            {
                uint32_t const word = PAIRS || i < 2 ? raw.chroma : raw.later;
                int const half = PAIRS ? i / 2 : i % 2;
                share = chromaShareOf(intByteOf(word, 2 * half), intByteOf(word, 2 * half + 1));
            }
            int const luma = lumaShareOf(intByteOf(raw.luma, i));
            values[3 * i] = yuvByte(luma + share.blue);
            values[3 * i + 1] = yuvByte(luma + share.green);
            values[3 * i + 2] = yuvByte(luma + share.red);
        }
    }

private:
    Picture const& mPicture;
    int mPixel;
    bool mWhole;
};

} // namespace lzu
