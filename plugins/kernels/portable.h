// What lets one source serve three compilers: nvcc, NVRTC (no host headers) and a plain C++ compiler.
#pragma once

#if defined(__CUDACC_RTC__)
using int8_t = signed char;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#endif

#if defined(__CUDACC__)
#define LZU_HD __host__ __device__ __forceinline__
#define LZU_PRAGMA(text) _Pragma(#text)
#define LZU_UNROLL(n) LZU_PRAGMA(unroll n)
#else
#define LZU_HD inline
#define LZU_UNROLL(n)
#endif

namespace lzu
{

// Knots closer than this count as this far apart; the same constant as lzu_export.warp.inverse.MIN_GAP.
constexpr float kMIN_GAP = 1e-6F;

LZU_HD int ceilDiv(int a, int b)
{
    return (a + b - 1) / b;
}

LZU_HD int clampInt(int value, int low, int high)
{
    return value < low ? low : (value > high ? high : value);
}

// NaN compares false, so it is not finite either.
LZU_HD bool isFinite(float value)
{
    return fabsf(value) <= 3.402823466e38F;
}

LZU_HD int floatBits(float value)
{
#if defined(__CUDA_ARCH__)
    return __float_as_int(value);
#else
    int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

// Bits of a word that are set; bits below the lowest that is set, in a word that is not 0.
LZU_HD int countBits(uint32_t word)
{
#if defined(__CUDA_ARCH__)
    return __popc(word);
#else
    return __builtin_popcount(word);
#endif
}

LZU_HD int lowestBit(uint32_t word)
{
#if defined(__CUDA_ARCH__)
    return __ffs(static_cast<int>(word)) - 1;
#else
    return __builtin_ctz(word);
#endif
}

// A word moved up by a bit, with the sign of a number as its lowest.
LZU_HD uint32_t pushSign(uint32_t word, int number)
{
#if defined(__CUDA_ARCH__)
    return __funnelshift_l(static_cast<uint32_t>(number), word, 1);
#else
    return word << 1U | static_cast<uint32_t>(number) >> 31U;
#endif
}

// The bits of a word below this one, of which there are 32.
LZU_HD uint32_t maskBelow(int bit)
{
    return bit >= 32 ? ~0U : (bit > 0 ? (1U << bit) - 1U : 0U);
}

// Changes of shared memory that several threads of a block make in one phase; none may read it in that phase.
LZU_HD void setBits(uint32_t& word, uint32_t bits)
{
#if defined(__CUDA_ARCH__)
    atomicOr(&word, bits);
#else
    word |= bits;
#endif
}

LZU_HD void lowerTo(int& lowest, int value)
{
#if defined(__CUDA_ARCH__)
    atomicMin(&lowest, value);
#else
    lowest = value < lowest ? value : lowest;
#endif
}

LZU_HD void raiseTo(int& highest, int value)
{
#if defined(__CUDA_ARCH__)
    atomicMax(&highest, value);
#else
    highest = value > highest ? value : highest;
#endif
}

LZU_HD void addTo(int& sum, int value)
{
#if defined(__CUDA_ARCH__)
    atomicAdd(&sum, value);
#else
    sum += value;
#endif
}

// Products that no compiler may contract into a fused multiply-add: their rounding is part of a contract.
LZU_HD float productRounded(float a, float b)
{
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    float volatile product = a * b; // also holds where -ffp-contract=off was forgotten
    return product;
#endif
}

} // namespace lzu
