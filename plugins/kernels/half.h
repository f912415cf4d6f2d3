// IEEE half precision as a storage type: converted to float where it is read and back where it is written.
// Own conversions, since cuda_fp16.h exists neither for a plain compiler nor, without CCCL's headers, for nvcc.
#pragma once

#include "portable.h"

namespace lzu
{

struct Half
{
    uint16_t bits;
};

#if !defined(__CUDA_ARCH__)
namespace host
{

inline float bitsToFloat(uint32_t bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t floatToBits(float value)
{
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float halfToFloat(uint16_t half)
{
    uint32_t const sign = (half & 0x8000U) << 16U;
    uint32_t const magnitude = half & 0x7FFFU;
    if (magnitude >= 0x7C00U) // infinity, NaN
    {
        return bitsToFloat(sign | 0x7F800000U | ((magnitude & 0x3FFU) << 13U));
    }
    if (magnitude < 0x400U) // zero, subnormal: multiples of 2^-24
    {
        float const value = static_cast<float>(magnitude) * 5.9604644775390625e-8F;
        return sign ? -value : value;
    }
    return bitsToFloat(sign | ((magnitude + 0x1C000U) << 13U));
}

// Rounds to nearest, ties to even, as the device's cvt.rn does.
inline uint16_t floatToHalf(float value)
{
    uint32_t const bits = floatToBits(value);
    uint32_t const sign = (bits >> 16U) & 0x8000U;
    uint32_t const magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U)
    {
        return static_cast<uint16_t>(0x7FFFU);
    }
    if (magnitude >= 0x477FF000U) // 65520 and above round to infinity
    {
        return static_cast<uint16_t>(sign | 0x7C00U);
    }
    if (magnitude < 0x38800000U) // below 2^-14: adding 0.5 makes the FPU round to multiples of 2^-24
    {
        float const rounded = bitsToFloat(magnitude) + 0.5F;
        return static_cast<uint16_t>(sign | (floatToBits(rounded) - floatToBits(0.5F)));
    }
    uint32_t const odd = (magnitude >> 13U) & 1U;
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000U + 0xFFFU + odd) >> 13U));
}

} // namespace host
#endif

LZU_HD float toFloat(Half half)
{
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half.bits));
    return value;
#else
    return host::halfToFloat(half.bits);
#endif
}

LZU_HD Half toHalf(float value)
{
    Half half;
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half.bits) : "f"(value));
#else
    half.bits = host::floatToHalf(value);
#endif
    return half;
}

} // namespace lzu
