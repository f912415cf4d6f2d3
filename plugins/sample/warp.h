// A bundle's warp.safetensors: arrays and the sizes of the images between camera and network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lzu::sample
{

struct Size
{
    int32_t y{};
    int32_t x{};

    bool operator==(Size const& other) const
    {
        return y == other.y && x == other.x;
    }
};

// An array of the file; float64 for knots, float32 for tables.
struct WarpArray
{
    std::string type; // F32 or F64
    std::vector<int64_t> shape;
    std::vector<char> bytes;

    // The values, rounded to float32.
    std::vector<float> floats() const;
};

struct Warp
{
    Size source;
    Size corner; // first row and column of the view in the source
    Size view;
    Size picture;
    Size canvas;
    Size networkInput;
    double stepY{}; // source pixels per canvas pixel
    double stepX{};
    std::map<std::string, WarpArray> arrays;

    bool has(std::string const& name) const
    {
        return arrays.count(name) > 0;
    }
};

// Reads BUNDLE/warp.safetensors; throws Error if it is absent or damaged.
Warp readWarp(std::string const& bundle);

} // namespace lzu::sample
