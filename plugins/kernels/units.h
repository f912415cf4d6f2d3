// The memory formats as one pattern. A tensor is an array of units, one or more channels of one cell:
//
//   index of a unit = (outer * cells + cell) * inner + i
//
//   format            unit        channels   outer            inner
//   FP32, FP16 linear float, half  1         C                1
//   FP16 kHWC8        16 bytes     8         1                ceil(C / 8)
//   INT8 linear       1 byte      1         C                1
//   INT8 kCHW4        4 bytes      4         ceil(C / 4)      1
//   INT8 kCHW32       16 bytes     16        ceil(C / 32)     2
//
// so that one kernel serves all formats.
#pragma once

#include "half.h"

namespace lzu
{

// Bytes that are read and written by one instruction.
template <int BYTES>
struct alignas(BYTES) Chunk
{
    uint32_t words[BYTES / 4];
};

// The bits of a float, and back.
LZU_HD uint32_t bitsOf(float value)
{
#if defined(__CUDA_ARCH__)
    return __float_as_uint(value);
#else
    return host::floatToBits(value);
#endif
}

LZU_HD float floatOf(uint32_t bits)
{
#if defined(__CUDA_ARCH__)
    return __uint_as_float(bits);
#else
    return host::bitsToFloat(bits);
#endif
}

template <int BYTES>
LZU_HD Chunk<BYTES> loadChunk(void const* address)
{
    Chunk<BYTES> chunk;
#if defined(__CUDA_ARCH__)
    if constexpr (BYTES == 16)
    {
        uint4 const value = __ldg(static_cast<uint4 const*>(address));
        chunk.words[0] = value.x;
        chunk.words[1] = value.y;
        chunk.words[2] = value.z;
        chunk.words[3] = value.w;
    }
    else
    {
        chunk.words[0] = __ldg(static_cast<unsigned int const*>(address));
    }
#else
    std::memcpy(&chunk, address, sizeof chunk);
#endif
    return chunk;
}

template <int BYTES>
LZU_HD void storeChunk(void* address, Chunk<BYTES> const& chunk)
{
#if defined(__CUDA_ARCH__)
    if constexpr (BYTES == 16)
    {
        *static_cast<uint4*>(address) = make_uint4(chunk.words[0], chunk.words[1], chunk.words[2], chunk.words[3]);
    }
    else if constexpr (BYTES == 8)
    {
        *static_cast<uint2*>(address) = make_uint2(chunk.words[0], chunk.words[1]);
    }
    else
    {
        *static_cast<unsigned int*>(address) = chunk.words[0];
    }
#else
    std::memcpy(address, &chunk, sizeof chunk);
#endif
}

// Stores part `index` of a chunk, BYTES wide, in its place behind the chunk's own.
template <int BYTES, class Chunk>
LZU_HD void storePart(void* address, Chunk const& chunk, int index)
{
    auto* const place = static_cast<unsigned char*>(address) + index * BYTES;
    uint32_t const bits = chunk.words[index * BYTES / 4] >> (8U * static_cast<uint32_t>(index * BYTES % 4));
    if constexpr (BYTES == 4)
    {
        *reinterpret_cast<uint32_t*>(place) = bits;
    }
    else if constexpr (BYTES == 2)
    {
        *reinterpret_cast<uint16_t*>(place) = static_cast<uint16_t>(bits);
    }
    else
    {
        *place = static_cast<uint8_t>(bits);
    }
}

// A unit is loaded as it lies in memory, so that several loads are under way before the first is used. A Raw of zeros
// stands for a unit that is not read.

// One float or half: `lanes` floats are added to, and written from, float accumulators.
struct FloatUnit
{
    static constexpr int kLANES = 1;
    static constexpr int kBYTES = 4;
    using Raw = float;

    LZU_HD static Raw load(void const* address)
    {
#if defined(__CUDA_ARCH__)
        return __ldg(static_cast<float const*>(address));
#else
        return *static_cast<float const*>(address);
#endif
    }

    LZU_HD static void accumulate(float* sums, Raw raw, float weight)
    {
        sums[0] = fmaf(weight, raw, sums[0]);
    }

    // Writes the sum as the bits of a 4-byte word, or of half of one.
    LZU_HD static void pack(uint32_t* words, int at, float const* sums)
    {
        words[at] = bitsOf(sums[0]);
    }

    LZU_HD static void store(void* address, float const* sums)
    {
        *static_cast<float*>(address) = sums[0];
    }
};

struct HalfUnit
{
    static constexpr int kLANES = 1;
    static constexpr int kBYTES = 2;
    using Raw = Half;

    LZU_HD static Raw load(void const* address)
    {
#if defined(__CUDA_ARCH__)
        return {__ldg(static_cast<unsigned short const*>(address))};
#else
        return *static_cast<Half const*>(address);
#endif
    }

    LZU_HD static void accumulate(float* sums, Raw raw, float weight)
    {
        sums[0] = fmaf(weight, toFloat(raw), sums[0]);
    }

    LZU_HD static void pack(uint32_t* words, int at, float const* sums)
    {
        uint32_t const bits = toHalf(sums[0]).bits;
        words[at / 2] = at % 2 == 0 ? bits : words[at / 2] | bits << 16U;
    }

    LZU_HD static void store(void* address, float const* sums)
    {
        *static_cast<Half*>(address) = toHalf(sums[0]);
    }
};

// Eight halves of one cell: kHWC8.
struct Half8Unit
{
    static constexpr int kLANES = 8;
    static constexpr int kBYTES = 16;
    using Raw = Chunk<16>;

    LZU_HD static Raw load(void const* address)
    {
        return loadChunk<16>(address);
    }

    LZU_HD static void accumulate(float* sums, Raw const& raw, float weight)
    {
        LZU_UNROLL(4)
        for (int w = 0; w < 4; ++w)
        {
            uint32_t const word = raw.words[w];
            sums[2 * w] = fmaf(weight, toFloat(Half{static_cast<uint16_t>(word & 0xFFFFU)}), sums[2 * w]);
            sums[2 * w + 1] = fmaf(weight, toFloat(Half{static_cast<uint16_t>(word >> 16U)}), sums[2 * w + 1]);
        }
    }

    LZU_HD static void store(void* address, float const* sums)
    {
        Chunk<16> chunk;
        LZU_UNROLL(4)
        for (int w = 0; w < 4; ++w)
        {
            chunk.words[w] = toHalf(sums[2 * w]).bits | static_cast<uint32_t>(toHalf(sums[2 * w + 1]).bits) << 16U;
        }
        storeChunk<16>(address, chunk);
    }
};

// Conversions between INT8 and float are slow instructions of their own. Instead a byte is laid into the mantissa of a
// float between 2^23 and 2^24, whose lowest bit counts 1, by a permutation of bytes and an exact subtraction; and back
// by an addition that rounds to the nearest integer, ties to even.

// Four INT8 as bytes that count from -128.
LZU_HD uint32_t biased(uint32_t word)
{
    return word ^ 0x80808080U;
}

LZU_HD float int8At(uint32_t biasedWord, int byte)
{
    constexpr float kORIGIN = 8388608.0F + 128.0F;
#if defined(__CUDA_ARCH__)
    uint32_t const bits = __byte_perm(biasedWord, 0x4B000000U, 0x7540U + static_cast<uint32_t>(byte));
#else
    uint32_t const bits = 0x4B000000U | ((biasedWord >> (8U * static_cast<uint32_t>(byte))) & 0xFFU);
#endif
    return floatOf(bits) - kORIGIN;
}

// A sum's nearest integer in the lowest byte, saturated to -127, the symmetric range of an INT8 with zero point 0. The
// weights of a sum are at least 0 and add up to 1 at most, so that 127 is not exceeded.
LZU_HD uint32_t toInt8(float value)
{
    return bitsOf(fmaxf(value, -127.0F) + 12582912.0F);
}

// The lowest bytes of four words.
LZU_HD uint32_t lowestBytes(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
#if defined(__CUDA_ARCH__)
    return __byte_perm(__byte_perm(a, b, 0x0040U), __byte_perm(c, d, 0x0040U), 0x5410U);
#else
    return (a & 0xFFU) | (b & 0xFFU) << 8U | (c & 0xFFU) << 16U | (d & 0xFFU) << 24U;
#endif
}

// One channel in INT8.
struct ByteUnit
{
    static constexpr int kLANES = 1;
    static constexpr int kBYTES = 1;
    using Raw = uint8_t;

    LZU_HD static Raw load(void const* address)
    {
#if defined(__CUDA_ARCH__)
        return __ldg(static_cast<unsigned char const*>(address));
#else
        return *static_cast<uint8_t const*>(address);
#endif
    }

    LZU_HD static void accumulate(float* sums, Raw raw, float weight)
    {
        sums[0] = fmaf(weight, int8At(biased(raw), 0), sums[0]);
    }

    LZU_HD static void pack(uint32_t* words, int at, float const* sums)
    {
        uint32_t const bits = (toInt8(sums[0]) & 0xFFU) << (8U * static_cast<uint32_t>(at % 4));
        words[at / 4] = at % 4 == 0 ? bits : words[at / 4] | bits;
    }

    LZU_HD static void store(void* address, float const* sums)
    {
        *static_cast<uint8_t*>(address) = static_cast<uint8_t>(toInt8(sums[0]));
    }
};

// WORDS * 4 channels of one cell in INT8: all of kCHW4's vector, half of kCHW32's.
template <int WORDS>
struct Int8Unit
{
    static constexpr int kLANES = 4 * WORDS;
    static constexpr int kBYTES = 4 * WORDS;
    using Raw = Chunk<kBYTES>;

    LZU_HD static Raw load(void const* address)
    {
        return loadChunk<kBYTES>(address);
    }

    LZU_HD static void accumulate(float* sums, Raw const& raw, float weight)
    {
        LZU_UNROLL(4)
        for (int w = 0; w < WORDS; ++w)
        {
            uint32_t const bytes = biased(raw.words[w]);
            LZU_UNROLL(4)
            for (int byte = 0; byte < 4; ++byte)
            {
                sums[4 * w + byte] = fmaf(weight, int8At(bytes, byte), sums[4 * w + byte]);
            }
        }
    }

    LZU_HD static uint32_t word(float const* sums)
    {
        return lowestBytes(toInt8(sums[0]), toInt8(sums[1]), toInt8(sums[2]), toInt8(sums[3]));
    }

    LZU_HD static void pack(uint32_t* words, int at, float const* sums)
    {
        words[at] = word(sums);
    }

    LZU_HD static void store(void* address, float const* sums)
    {
        Chunk<kBYTES> chunk;
        LZU_UNROLL(4)
        for (int w = 0; w < WORDS; ++w)
        {
            chunk.words[w] = word(sums + 4 * w);
        }
        storeChunk<kBYTES>(address, chunk);
    }
};

} // namespace lzu
