// What all plugins of this library share: one object with all of IPluginV3's capabilities, and its creator.
//
// A plugin derives from Plugin<itself> and has
//   static constexpr char const* kNAME,
//   explicit Itself(Fields const&), which throws FieldError,
//   static std::vector<PluginField> names(), its fields' names and types, and
//   void save(FieldStore&) const, which writes every field.
// Only what TensorRT 10.3 declares is used here and in the plugins, and only inline functions of its headers, so that
// the library has no undefined TensorRT symbol.
#pragma once

#include "common/fields.h"
#include "common/log.h"

#include <exception>
#include <memory>

namespace lzu
{

constexpr char const* kNAMESPACE = "lzu";
constexpr char const* kVERSION = "1";

template <class Itself>
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
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

    // Core

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

    // Build

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
        return checkShapes(in, nbInputs, out, nbOutputs) ? 0 : -1;
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
        , nvinfer1::IPluginV3OneCore()
        , nvinfer1::IPluginV3OneBuild()
        , nvinfer1::IPluginV3OneRuntime()
        , mTactic(other.mTactic)
        , mTacticCount(other.mTacticCount)
    {
    }

    // Whether the shapes fit the plugin's fields; logs a sentence where they do not.
    virtual bool checkShapes(nvinfer1::PluginTensorDesc const* in, int32_t nbInputs,
        nvinfer1::PluginTensorDesc const* out, int32_t nbOutputs) const noexcept = 0;

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

    int32_t mTactic{0};
    int32_t mTacticCount{0};

private:
    FieldStore mStore;
};

template <class Made>
class Creator : public nvinfer1::IPluginCreatorV3One
{
public:
    Creator()
        : mFields(Made::names())
        , mCollection{static_cast<int32_t>(mFields.size()), mFields.data()}
    {
    }

    nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* /*name*/,
        nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase /*phase*/) noexcept override
    {
        try
        {
            return new Made(Fields(Made::kNAME, fields));
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

    nvinfer1::AsciiChar const* getPluginName() const noexcept override
    {
        return Made::kNAME;
    }

    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override
    {
        return kVERSION;
    }

    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override
    {
        return kNAMESPACE;
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

// Knots are batch x count, or 1 x count for a whole batch.
inline bool areKnots(nvinfer1::Dims const& dims, int64_t batch)
{
    return dims.nbDims == 2 && dims.d[1] >= 2 && (dims.d[0] == batch || dims.d[0] == 1);
}

} // namespace lzu
