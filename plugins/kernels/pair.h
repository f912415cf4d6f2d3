// Unevaluated sums of two floats: about 48 bits where a coordinate of an image 1920 pixels wide would lose 1e-4 pixel
// in one float. Used for a block's tables only, so that no sampling kernel needs double precision, which is 32 to 64
// times slower than float on Jetson and RTX parts.
#pragma once

#include "portable.h"

namespace lzu
{

struct Pair
{
    float high;
    float low;
};

// Sums and products with their rounding errors (Knuth's and Dekker's, the latter by a fused multiply-add).
LZU_HD Pair sumOf(float a, float b)
{
    float const sum = a + b;
    float const part = sum - a;
    return {sum, (a - (sum - part)) + (b - part)};
}

LZU_HD Pair productOf(float a, float b)
{
    float const product = a * b;
    return {product, fmaf(a, b, -product)};
}

LZU_HD Pair operator+(Pair a, float b)
{
    Pair const sum = sumOf(a.high, b);
    return sumOf(sum.high, sum.low + a.low);
}

LZU_HD Pair operator+(Pair a, Pair b)
{
    Pair const sum = sumOf(a.high, b.high);
    return sumOf(sum.high, sum.low + (a.low + b.low));
}

LZU_HD Pair operator*(Pair a, float b)
{
    Pair const product = productOf(a.high, b);
    return sumOf(product.high, fmaf(a.low, b, product.low));
}

LZU_HD Pair operator/(Pair a, float b)
{
    float const quotient = a.high / b;
    float const rest = fmaf(-quotient, b, a.high) + a.low;
    return sumOf(quotient, rest / b);
}

// a - b, right to float's epsilon of the difference even where a and b nearly cancel.
LZU_HD float difference(Pair a, float b)
{
    return (a.high - b) + a.low;
}

} // namespace lzu
