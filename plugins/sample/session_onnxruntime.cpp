// The engine in ONNX Runtime's C++ interface, on the processor.
#include "session.h"

#include "host_memory.h"

#include <onnxruntime_cxx_api.h>

namespace lzu::sample
{

namespace
{

std::string typeName(ONNXTensorElementDataType type)
{
    switch (type)
    {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return "uint8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return "float32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return "int32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return "int64";
    default: return "ONNX type " + std::to_string(type);
    }
}

class OnnxRuntimeSession final : public HostSession
{
public:
    explicit OnnxRuntimeSession(std::string const& path)
        : mEnvironment(ORT_LOGGING_LEVEL_ERROR, "lzu_sample")
        , mSession(mEnvironment, path.c_str(), Ort::SessionOptions())
    {
        Ort::AllocatorWithDefaultOptions names;
        for (std::size_t i = 0; i < mSession.GetInputCount(); ++i)
        {
            bind(mInputs, mSession.GetInputNameAllocated(i, names).get(), mSession.GetInputTypeInfo(i));
        }
        for (std::size_t i = 0; i < mSession.GetOutputCount(); ++i)
        {
            bind(mOutputs, mSession.GetOutputNameAllocated(i, names).get(), mSession.GetOutputTypeInfo(i));
        }
        prepare(mInputs, mInputNames, mInputValues);
        prepare(mOutputs, mOutputNames, mOutputValues);
    }

    void run() override
    {
        try
        {
            mSession.Run(Ort::RunOptions(), mInputNames.data(), mInputValues.data(), mInputValues.size(),
                mOutputNames.data(), mOutputValues.data(), mOutputValues.size());
        }
        catch (Ort::Exception const& error)
        {
            throw Error(std::string("ONNX Runtime fails to run the engine: ") + error.what());
        }
    }

private:
    void bind(std::vector<Bound>& all, std::string const& name, Ort::TypeInfo const& type)
    {
        auto const info = type.GetTensorTypeAndShapeInfo();
        Tensor const tensor{name, typeName(info.GetElementType()), info.GetShape()};
        all.push_back({tensor, allocate(tensor.bytes())});
    }

    static ONNXTensorElementDataType typeOf(Tensor const& tensor)
    {
        return tensor.type == "uint8" ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
            : tensor.type == "float32" ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
            : tensor.type == "int32"   ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32
                                       : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    }

    static void prepare(std::vector<Bound> const& all, std::vector<char const*>& names, std::vector<Ort::Value>& values)
    {
        auto const memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
        for (Bound const& each : all)
        {
            names.push_back(each.tensor.name.c_str());
            values.push_back(Ort::Value::CreateTensor(memory, each.memory.get(), each.tensor.bytes(),
                each.tensor.shape.data(), each.tensor.shape.size(), typeOf(each.tensor)));
        }
    }

    Ort::Env mEnvironment;
    Ort::Session mSession;
    std::vector<char const*> mInputNames; // of mInputs, which stay where they are
    std::vector<char const*> mOutputNames;
    std::vector<Ort::Value> mInputValues;
    std::vector<Ort::Value> mOutputValues;
};

} // namespace

std::string sessionTarget()
{
    return "onnxruntime";
}

std::unique_ptr<Session> openSession(EngineFile const& engine, Manifest const& /*manifest*/)
{
    try
    {
        return std::make_unique<OnnxRuntimeSession>(engine.path);
    }
    catch (Ort::Exception const& error)
    {
        throw Error("ONNX Runtime cannot open " + engine.path + ": " + error.what());
    }
}

} // namespace lzu::sample
