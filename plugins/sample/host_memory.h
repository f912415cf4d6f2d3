// Sessions whose engine and kernels run on the processor.
#pragma once

#include "session.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace lzu::sample
{

class HostSession : public Session
{
public:
    Memory allocate(std::size_t bytes) override
    {
        constexpr std::size_t kALIGNMENT = 64;
        std::size_t const rounded = (bytes / kALIGNMENT + 1) * kALIGNMENT;
        Memory memory(std::aligned_alloc(kALIGNMENT, rounded), std::free);
        if (memory == nullptr)
        {
            throw Error("there is no memory for " + std::to_string(bytes) + " bytes");
        }
        std::memset(memory.get(), 0, rounded);
        return memory;
    }

    void upload(void* to, void const* from, std::size_t bytes) override
    {
        std::copy_n(static_cast<char const*>(from), bytes, static_cast<char*>(to));
    }

    void download(void* to, void const* from, std::size_t bytes) override
    {
        std::copy_n(static_cast<char const*>(from), bytes, static_cast<char*>(to));
    }

    void* stream() const override
    {
        return nullptr;
    }
};

} // namespace lzu::sample
