// The engine in TensorRT, on the current CUDA device.
#include "session.h"

#include "files.h"

#include <lzu_kernels.h>

#include <NvInfer.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdint>
#include <iostream>

// TensorRT's own plugins; NvInferPlugin.h, which declares this, is not among the headers that find_tools.sh downloads.
extern "C" bool initLibNvInferPlugins(void* logger, char const* libNamespace);

namespace lzu::sample
{

namespace
{

void check(cudaError_t code, char const* what)
{
    if (code != cudaSuccess)
    {
        throw Error(std::string("CUDA cannot ") + what + ": " + cudaGetErrorString(code));
    }
}

// Writes TensorRT's warnings to the log and keeps its last error, which explains a null pointer.
class Logger final : public nvinfer1::ILogger
{
public:
    void log(Severity severity, char const* message) noexcept override
    {
        if (severity <= Severity::kERROR)
        {
            mLast = message;
        }
        else if (severity == Severity::kWARNING)
        {
            std::cerr << "TensorRT: " << message << '\n';
        }
    }

    std::string const& last() const
    {
        return mLast;
    }

private:
    std::string mLast = "it gives no reason";
};

std::string typeName(nvinfer1::DataType type)
{
    switch (type)
    {
    case nvinfer1::DataType::kUINT8: return "uint8";
    case nvinfer1::DataType::kFLOAT: return "float32";
    case nvinfer1::DataType::kINT32: return "int32";
    case nvinfer1::DataType::kINT64: return "int64";
    default: return "TensorRT type " + std::to_string(static_cast<int32_t>(type));
    }
}

class TensorRtSession final : public Session
{
public:
    TensorRtSession(EngineFile const& file, Manifest const& manifest)
        : mStream(openStream())
    {
        registerPlugins(manifest);
        std::vector<char> const plan = readFile(file.path);
        mRuntime.reset(nvinfer1::createInferRuntime(mLogger));
        require(mRuntime != nullptr, "TensorRT does not start");
        mEngine.reset(mRuntime->deserializeCudaEngine(plan.data(), plan.size()));
        require(mEngine != nullptr, "TensorRT cannot load " + file.path);
        mContext.reset(mEngine->createExecutionContext());
        require(mContext != nullptr, "TensorRT cannot prepare " + file.path);
        for (int32_t i = 0; i < mEngine->getNbIOTensors(); ++i)
        {
            bind(mEngine->getIOTensorName(i));
        }
    }

    ~TensorRtSession() override
    {
        cudaStreamSynchronize(cudaStream());
    }

    Memory allocate(std::size_t bytes) override
    {
        void* address = nullptr;
        check(cudaMalloc(&address, bytes), "allocate memory");
        Memory memory(address, cudaFree);
        check(cudaMemsetAsync(address, 0, bytes, cudaStream()), "clear memory");
        return memory;
    }

    void upload(void* to, void const* from, std::size_t bytes) override
    {
        // The host's memory is pageable: the call returns once it has been read.
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, cudaStream()), "copy to the device");
    }

    void download(void* to, void const* from, std::size_t bytes) override
    {
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cudaStream()), "copy to the host");
        check(cudaStreamSynchronize(cudaStream()), "finish a frame");
    }

    void run() override
    {
        require(mContext->enqueueV3(cudaStream()), "TensorRT fails to run the engine");
    }

    void* stream() const override
    {
        return mStream.get();
    }

private:
    template <typename T>
    using Owned = std::unique_ptr<T>;

    static std::shared_ptr<void> openStream()
    {
        cudaStream_t stream = nullptr;
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "open a stream");
        return {stream, [](void* open) { cudaStreamDestroy(static_cast<cudaStream_t>(open)); }};
    }

    cudaStream_t cudaStream() const
    {
        return static_cast<cudaStream_t>(mStream.get());
    }

    void require(bool holds, std::string const& otherwise) const
    {
        if (!holds)
        {
            throw Error(otherwise + ": " + mLogger.last());
        }
    }

    // The plugin library that this program is linked to, and for det3d TensorRT's own plugins.
    void registerPlugins(Manifest const& manifest)
    {
        if (manifest.task == "det3d")
        {
            require(initLibNvInferPlugins(&mLogger, ""), "TensorRT's own plugins cannot be registered");
        }
        // Loading it does no harm where the engine calls none.
        Dl_info library{};
        bool const isFound = dladdr(reinterpret_cast<void const*>(&lzu_suppress), &library) != 0;
        require(isFound && getPluginRegistry()->loadLibrary(library.dli_fname) != nullptr,
            "TensorRT cannot load the plugin library");
    }

    void bind(char const* name)
    {
        nvinfer1::Dims const dims = mEngine->getTensorShape(name);
        Tensor const tensor{name, typeName(mEngine->getTensorDataType(name)), {dims.d, dims.d + dims.nbDims}};
        bool const isInput = mEngine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        Bound const bound{tensor, allocate(tensor.bytes())};
        require(mContext->setTensorAddress(name, bound.memory.get()), "TensorRT cannot bind " + tensor.name);
        (isInput ? mInputs : mOutputs).push_back(bound);
    }

    Logger mLogger;
    std::shared_ptr<void> mStream;
    Owned<nvinfer1::IRuntime> mRuntime;
    Owned<nvinfer1::ICudaEngine> mEngine;
    Owned<nvinfer1::IExecutionContext> mContext;
};

} // namespace

std::string sessionTarget()
{
    return "tensorrt";
}

std::unique_ptr<Session> openSession(EngineFile const& engine, Manifest const& manifest)
{
    return std::make_unique<TensorRtSession>(engine, manifest);
}

} // namespace lzu::sample
