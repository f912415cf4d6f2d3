// An engine with its memory, whatever runs it. Exactly one session_*.cpp is built in.
#pragma once

#include "manifest.h"
#include "tensor.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace lzu::sample
{

// Memory that the engine and the kernels work in: the device's, or the host's where ONNX Runtime runs. Its start is
// aligned to 16 bytes at least, and its content begins as zeros.
using Memory = std::shared_ptr<void>;

using Shape = std::vector<int64_t>;

constexpr int64_t kANY = -1;

// A tensor of the engine and the memory that it is bound to.
struct Bound
{
    Tensor tensor;
    Memory memory;
};

class Session
{
public:
    Session() = default;
    Session(Session const&) = delete;
    Session& operator=(Session const&) = delete;
    virtual ~Session() = default;

    virtual Memory allocate(std::size_t bytes) = 0;

    // Copies from the host, in the stream's order; the source may be reused at once.
    virtual void upload(void* to, void const* from, std::size_t bytes) = 0;

    // Copies to the host, after all work so far.
    virtual void download(void* to, void const* from, std::size_t bytes) = 0;

    // Enqueues one run of the engine.
    virtual void run() = 0;

    // The cudaStream_t that the work is enqueued in; null on a host.
    virtual void* stream() const = 0;

    // The bound input or output of a name, or nullptr.
    Bound const* input(std::string const& name) const
    {
        return find(mInputs, name);
    }

    Bound const* output(std::string const& name) const
    {
        return find(mOutputs, name);
    }

    // The input or output of a name; throws Error if the engine has none, or one of another type or shape. kANY stands
    // for any side.
    Bound const& requireInput(std::string const& name, std::string const& type, Shape const& shape) const
    {
        return require(input(name), name, type, shape);
    }

    Bound const& requireOutput(std::string const& name, std::string const& type, Shape const& shape) const
    {
        return require(output(name), name, type, shape);
    }

    std::vector<Bound> const& inputs() const
    {
        return mInputs;
    }

    // An output's values on the host.
    template <typename T>
    std::vector<T> values(Bound const& bound)
    {
        std::vector<T> found(bound.tensor.count());
        download(found.data(), bound.memory.get(), bound.tensor.bytes());
        return found;
    }

protected:
    std::vector<Bound> mInputs;
    std::vector<Bound> mOutputs;

private:
    static bool fits(Shape const& shape, Shape const& wanted)
    {
        auto const isFit = [](int64_t side, int64_t asked) { return asked == kANY || side == asked; };
        return std::equal(shape.begin(), shape.end(), wanted.begin(), wanted.end(), isFit);
    }

    static Bound const* find(std::vector<Bound> const& all, std::string const& name)
    {
        for (Bound const& each : all)
        {
            if (each.tensor.name == name)
            {
                return &each;
            }
        }
        return nullptr;
    }

    static Bound const& require(
        Bound const* found, std::string const& name, std::string const& type, Shape const& shape)
    {
        if (found == nullptr || found->tensor.type != type || !fits(found->tensor.shape, shape))
        {
            std::string text;
            for (int64_t const side : shape)
            {
                text += (text.empty() ? "" : " x ") + (side == kANY ? "any" : std::to_string(side));
            }
            throw Error("the engine has no tensor " + name + " of type " + type + ", " + text
                + "; take an engine of this bundle");
        }
        return *found;
    }
};

// The manifest's name of the target whose engines the built-in session runs.
std::string sessionTarget();

// Opens an engine; throws Error if it cannot run here.
std::unique_ptr<Session> openSession(EngineFile const& engine, Manifest const& manifest);

} // namespace lzu::sample
