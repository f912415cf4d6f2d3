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
    else
    {
        *static_cast<unsigned int*>(address) = chunk.words[0];
    }
#else
    std::memcpy(address, &chunk, sizeof chunk);
#endif
}

// One float or half: `lanes` floats are added to, and written from, float accumulators.
struct FloatUnit
{
    static constexpr int kLANES = 1;
    static constexpr int kBYTES = 4;

    LZU_HD static void accumulate(float* sums, void const* address, float weight)
    {
#if defined(__CUDA_ARCH__)
        sums[0] = fmaf(weight, __ldg(static_cast<float const*>(address)), sums[0]);
#else
        sums[0] = fmaf(weight, *static_cast<float const*>(address), sums[0]);
#endif
    }

    // Writes the sum as the bits of a 4-byte word, or of half of one.
    LZU_HD static void pack(uint32_t* words, int at, float const* sums)
    {
#if defined(__CUDA_ARCH__)
        words[at] = __float_as_uint(sums[0]);
#else
        words[at] = host::floatToBits(sums[0]);
#endif
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

    LZU_HD static void accumulate(float* sums, void const* address, float weight)
    {
        Half half;
#if defined(__CUDA_ARCH__)
        half.bits = __ldg(static_cast<unsigned short const*>(address));
#else
        half = *static_cast<Half const*>(address);
#endif
        sums[0] = fmaf(weight, toFloat(half), sums[0]);
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

    LZU_HD static void accumulate(float* sums, void const* address, float weight)
    {
        Chunk<16> const chunk = loadChunk<16>(address);
        LZU_UNROLL(4)
        for (int w = 0; w < 4; ++w)
        {
            uint32_t const word = chunk.words[w];
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

// To the nearest integer, ties to even, saturated to the symmetric range of an INT8 with zero point 0.
LZU_HD uint32_t toInt8(float value)
{
    float const bounded = fminf(fmaxf(value, -127.0F), 127.0F);
#if defined(__CUDA_ARCH__)
    return static_cast<uint32_t>(__float2int_rn(bounded)) & 0xFFU;
#else
    return static_cast<uint32_t>(static_cast<int32_t>(std::nearbyint(bounded))) & 0xFFU;
#endif
}

LZU_HD float int8At(uint32_t word, int byte)
{
    return static_cast<float>(static_cast<int8_t>((word >> (8U * static_cast<uint32_t>(byte))) & 0xFFU));
}

// One channel in INT8.
struct ByteUnit
{
    static constexpr int kLANES = 1;
    static constexpr int kBYTES = 1;

    LZU_HD static void accumulate(float* sums, void const* address, float weight)
    {
#if defined(__CUDA_ARCH__)
        sums[0] = fmaf(weight, static_cast<float>(__ldg(static_cast<signed char const*>(address))), sums[0]);
#else
        sums[0] = fmaf(weight, static_cast<float>(*static_cast<int8_t const*>(address)), sums[0]);
#endif
    }

    LZU_HD static void pack(uint32_t* words, int at, float const* sums)
    {
        uint32_t const bits = toInt8(sums[0]) << (8U * static_cast<uint32_t>(at % 4));
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

    LZU_HD static void accumulate(float* sums, void const* address, float weight)
    {
        Chunk<kBYTES> const chunk = loadChunk<kBYTES>(address);
        LZU_UNROLL(16)
        for (int lane = 0; lane < kLANES; ++lane)
        {
            sums[lane] = fmaf(weight, int8At(chunk.words[lane / 4], lane % 4), sums[lane]);
        }
    }

    LZU_HD static uint32_t word(float const* sums)
    {
        return toInt8(sums[0]) | toInt8(sums[1]) << 8U | toInt8(sums[2]) << 16U | toInt8(sums[3]) << 24U;
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
