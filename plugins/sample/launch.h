// Checks what a launcher of lzu_kernels.h returns.
#pragma once

#include "error.h"

#include <cstdint>
#include <string>

namespace lzu::sample
{

// Throws Error unless `code`, which the launcher `name` returned, is 0.
inline void launched(int32_t code, char const* name)
{
    if (code != 0)
    {
        throw Error(std::string(name) + " was not launched (error " + std::to_string(code)
            + "); build the plugin library on this device");
    }
}

} // namespace lzu::sample
