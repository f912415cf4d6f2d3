// What all plugins of this library share: one object with all of IPluginV3's capabilities, and its creator.
//
// A plugin derives from Plugin<itself> and has
//   static constexpr char const* kNAME,
//   explicit Itself(Fields const&), which throws FieldError and calls setTensors,
//   static std::vector<PluginField> names(), its fields' names and types,
//   void save(FieldStore&) const, which writes every field, and
//   the virtual functions that Plugin declares last. They are called with the right numbers of inputs and outputs.
// Only what TensorRT 10.3 declares is used here and in the plugins, and only inline functions of its headers, so that
// the library has no undefined TensorRT symbol.
#pragma once

#include "common/fields.h"
#include "common/log.h"

#include <exception>
#include <memory>
#include <vector>

namespace lzu
{

constexpr char const* kNAMESPACE = "lzu";
constexpr char const* kVERSION = "1";

// Answers what TensorRT asks of a plugin and of its creator alike.
template <class Interface, class Itself>
class Named : public Interface
{
public:
    nvinfer1::AsciiChar const* getPluginName() const noexcept override
    {
        return Itself::kNAME;
    }

    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override
    {
        return kVERSION;
    }

    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override
    {
        return kNAMESPACE;
    }
};

template <class Itself>
class Plugin : public nvinfer1::IPluginV3,
               public Named<nvinfer1::IPluginV3OneCore, Itself>,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime
{
public:
    // IPluginV3

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override
    {
        switch (type)
        {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    nvinfer1::IPluginV3* clone() noexcept override
    {
        try
        {
            return new Itself(static_cast<Itself const&>(*this));
        }
        catch (std::exception const& error)
        {
            logError(std::string("lzu::") + Itself::kNAME + ": cannot be copied: " + error.what());
            return nullptr;
        }
    }

    void setPhase(nvinfer1::TensorRTPhase phase) noexcept
    {
        mIsTimed = phase == nvinfer1::TensorRTPhase::kBUILD;
    }

    // Build

    int32_t getNbOutputs() const noexcept override
    {
        return mOutputCount;
    }

    int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs, nvinfer1::DataType const* inputTypes,
        int32_t nbInputs) const noexcept override
    {
        if (!checkCounts(nbInputs, nbOutputs))
        {
            return -1;
        }
        setOutputTypes(outputTypes, inputTypes);
        return 0;
    }

    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
        nvinfer1::DimsExprs const* /*shapeInputs*/, int32_t /*nbShapeInputs*/, nvinfer1::DimsExprs* outputs,
        int32_t nbOutputs, nvinfer1::IExprBuilder& exprBuilder) noexcept override
    {
        if (!checkCounts(nbInputs, nbOutputs) || !setOutputShapes(inputs, outputs, exprBuilder))
        {
            return -1;
        }
        return checkConstantShapes(inputs, outputs) ? 0 : -1;
    }

    bool supportsFormatCombination(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
        int32_t nbOutputs) noexcept override
    {
        return haveCounts(nbInputs, nbOutputs) && pos >= 0 && pos < nbInputs + nbOutputs && supports(pos, inOut);
    }

    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* /*in*/, int32_t /*nbInputs*/,
        nvinfer1::DynamicPluginTensorDesc const* /*out*/, int32_t /*nbOutputs*/) noexcept override
    {
        return 0;
    }

    char const* getTimingCacheID() noexcept override
    {
        return mTimingCacheId.empty() ? nullptr : mTimingCacheId.c_str();
    }

    int32_t getNbTactics() noexcept override
    {
        return mTacticCount;
    }

    // TensorRT wants positive numbers; 0 is what it calls the only tactic of a plugin that names none.
    int32_t getValidTactics(int32_t* tactics, int32_t nbTactics) noexcept override
    {
        for (int32_t i = 0; i < nbTactics; ++i)
        {
            tactics[i] = i + 1;
        }
        return 0;
    }

    // Runtime

    int32_t setTactic(int32_t tactic) noexcept override
    {
        mTactic = tactic > 0 ? tactic - 1 : 0;
        return 0;
    }

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t nbInputs, nvinfer1::PluginTensorDesc const* out,
        int32_t nbOutputs) noexcept override
    {
        return checkCounts(nbInputs, nbOutputs) && checkShapes(in, out) ? 0 : -1;
    }

    int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
        void const* const* inputs, void* const* outputs, void* /*workspace*/, cudaStream_t stream) noexcept override
    {
        return checkShapes(inputDesc, outputDesc) ? launchKernel(inputDesc, inputs, outputs, stream) : -1;
    }

    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* /*context*/) noexcept override
    {
        return clone();
    }

    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override
    {
        try
        {
            mStore.clear();
            static_cast<Itself const*>(this)->save(mStore);
            return mStore.collection();
        }
        catch (std::exception const& error)
        {
            logError(std::string("lzu::") + Itself::kNAME + ": cannot be serialised: " + error.what());
            return nullptr;
        }
    }

protected:
    Plugin() = default;

    // A copy has its own store, filled when it is asked for.
    Plugin(Plugin const& other)
        : nvinfer1::IPluginV3()
        , Named<nvinfer1::IPluginV3OneCore, Itself>()
        , nvinfer1::IPluginV3OneBuild()
        , nvinfer1::IPluginV3OneRuntime()
        , mInputCount(other.mInputCount)
        , mOutputCount(other.mOutputCount)
        , mTensors(other.mTensors)
        , mTactic(other.mTactic)
        , mTacticCount(other.mTacticCount)
        , mTimingCacheId(other.mTimingCacheId)
        , mIsTimed(other.mIsTimed)
    {
    }

    // `sentence` is logged for other numbers of inputs or outputs.
    void setTensors(int32_t inputs, int32_t outputs, char const* sentence)
    {
        mInputCount = inputs;
        mOutputCount = outputs;
        mTensors = sentence;
    }

    static bool complain(char const* sentence) noexcept
    {
        try
        {
            logError(std::string("lzu::") + Itself::kNAME + ": " + sentence);
        }
        catch (std::exception const&)
        {
            // Out of memory for a message: the return value still tells.
        }
        return false;
    }

    int32_t mInputCount{0};
    int32_t mOutputCount{0};
    char const* mTensors{""};
    int32_t mTactic{0};
    int32_t mTacticCount{0};
    std::string mTimingCacheId; // empty: TensorRT's timing cache leaves the plugin out
    // Made for building an engine: TensorRT runs it to time tactics, on inputs that are no warp.
    bool mIsTimed{false};

private:
    bool haveCounts(int32_t nbInputs, int32_t nbOutputs) const noexcept
    {
        return nbInputs == mInputCount && nbOutputs == mOutputCount;
    }

    bool checkCounts(int32_t nbInputs, int32_t nbOutputs) const noexcept
    {
        return haveCounts(nbInputs, nbOutputs) || complain(mTensors);
    }

    // Checks shapes that the builder knows, so that it makes no engine that could not run. Others are checked when the
    // engine runs.
    bool checkConstantShapes(nvinfer1::DimsExprs const* inputs, nvinfer1::DimsExprs const* outputs) const noexcept
    {
        try
        {
            std::vector<nvinfer1::PluginTensorDesc> in(static_cast<size_t>(mInputCount));
            std::vector<nvinfer1::PluginTensorDesc> out(static_cast<size_t>(mOutputCount));
            for (size_t i = 0; i < in.size(); ++i)
            {
                if (!evaluate(inputs[i], in[i].dims))
                {
                    return true;
                }
            }
            for (size_t i = 0; i < out.size(); ++i)
            {
                if (!evaluate(outputs[i], out[i].dims))
                {
                    return true;
                }
            }
            return checkShapes(in.data(), out.data());
        }
        catch (std::exception const&)
        {
            return complain("out of memory");
        }
    }

    // Returns whether all sizes are constant.
    static bool evaluate(nvinfer1::DimsExprs const& from, nvinfer1::Dims& to)
    {
        to.nbDims = from.nbDims;
        for (int32_t i = 0; i < from.nbDims; ++i)
        {
            if (!from.d[i]->isConstant())
            {
                return false;
            }
            to.d[i] = from.d[i]->getConstantValue();
        }
        return true;
    }

    virtual void setOutputTypes(nvinfer1::DataType* outputs, nvinfer1::DataType const* inputs) const noexcept = 0;

    // Sets the outputs' shapes; returns false, and logs a sentence, for inputs of wrong ranks.
    virtual bool setOutputShapes(nvinfer1::DimsExprs const* inputs, nvinfer1::DimsExprs* outputs,
        nvinfer1::IExprBuilder& exprBuilder) const noexcept = 0;

    // Whether tensor `pos`, inputs first, may have its type and format, given those of the tensors before it.
    virtual bool supports(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut) const noexcept = 0;

    // Whether the shapes fit the plugin's fields; logs a sentence where they do not.
    virtual bool checkShapes(
        nvinfer1::PluginTensorDesc const* in, nvinfer1::PluginTensorDesc const* out) const noexcept = 0;

    // Enqueues the kernel for checked shapes; returns a launcher's code (see lzu_kernels.h).
    virtual int32_t launchKernel(nvinfer1::PluginTensorDesc const* in, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const noexcept = 0;

    FieldStore mStore;
};

template <class Made>
class Creator : public Named<nvinfer1::IPluginCreatorV3One, Made>
{
public:
    Creator()
        : mFields(Made::names())
        , mCollection{static_cast<int32_t>(mFields.size()), mFields.data()}
    {
    }

    nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* /*name*/,
        nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase phase) noexcept override
    {
        try
        {
            auto* const made = new Made(Fields(Made::kNAME, fields));
            made->setPhase(phase);
            return made;
        }
        catch (std::exception const& error)
        {
            logError(error.what());
            return nullptr;
        }
    }

    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override
    {
        return &mCollection;
    }

private:
    std::vector<nvinfer1::PluginField> mFields;
    nvinfer1::PluginFieldCollection mCollection;
};

inline bool isFloatLinear(nvinfer1::PluginTensorDesc const& tensor)
{
    return tensor.type == nvinfer1::DataType::kFLOAT && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

inline bool isHalfLinear(nvinfer1::PluginTensorDesc const& tensor)
{
    return tensor.type == nvinfer1::DataType::kHALF && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

inline bool isSame(nvinfer1::PluginTensorDesc const& a, nvinfer1::PluginTensorDesc const& b)
{
    return a.type == b.type && a.format == b.format;
}

// A tensor's size along an axis, as the launchers take it.
inline int32_t sideOf(nvinfer1::PluginTensorDesc const& tensor, int32_t axis)
{
    return static_cast<int32_t>(tensor.dims.d[axis]);
}

// Knots are batch x count, or 1 x count for a whole batch.
inline bool areKnots(nvinfer1::Dims const& dims, int64_t batch)
{
    return dims.nbDims == 2 && dims.d[1] >= 2 && (dims.d[0] == batch || dims.d[0] == 1);
}

} // namespace lzu
