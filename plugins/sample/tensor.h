// Name, element type and shape of an engine's input or output.
#pragma once

#include "error.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lzu::sample
{

struct Tensor
{
    std::string name;
    std::string type; // NumPy's name: uint8, float32, int32, int64
    std::vector<int64_t> shape;

    std::size_t itemSize() const
    {
        if (type == "uint8")
        {
            return 1;
        }
        if (type == "int64")
        {
            return 8;
        }
        if (type == "float32" || type == "int32")
        {
            return 4;
        }
        throw Error("tensor " + name + " has type " + type + ", which docs/outputs.md does not list; export again");
    }

    std::size_t count() const
    {
        constexpr std::size_t kMOST = SIZE_MAX / 16; // items, of at most 8 bytes
        std::size_t product = 1;
        for (int64_t const side : shape)
        {
            if (side < 1)
            {
                throw Error("tensor " + name + " has no static shape; take an engine of the bundle");
            }
            if (static_cast<std::size_t>(side) > kMOST / product)
            {
                throw Error("tensor " + name + " is larger than any memory; take an engine of the bundle");
            }
            product *= static_cast<std::size_t>(side);
        }
        return product;
    }

    std::size_t bytes() const
    {
        return count() * itemSize();
    }
};

} // namespace lzu::sample
