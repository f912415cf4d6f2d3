#include "common/creators.h"
#include "common/plugin.h"
#include "kernels/lzu_kernels.h"

#include <algorithm>

namespace lzu
{

using namespace nvinfer1;

namespace
{

constexpr int32_t kMOST_UPSCALE = 64;

// The kernel's name of a tensor's type and format, or -1. Bytes of an element in every format that is not listed here
// would be misread, so nothing else is let in.
int32_t formatOf(PluginTensorDesc const& tensor)
{
    struct Accepted
    {
        DataType type;
        TensorFormat format;
        int32_t name;
    };
    constexpr Accepted kACCEPTED[] = {
        {DataType::kFLOAT, TensorFormat::kLINEAR, LZU_F32_LINEAR},
        {DataType::kHALF, TensorFormat::kLINEAR, LZU_F16_LINEAR},
        {DataType::kHALF, TensorFormat::kHWC8, LZU_F16_HWC8},
        {DataType::kINT8, TensorFormat::kLINEAR, LZU_I8_LINEAR},
        {DataType::kINT8, TensorFormat::kCHW4, LZU_I8_CHW4},
        {DataType::kINT8, TensorFormat::kCHW32, LZU_I8_CHW32},
    };
    for (Accepted const& accepted : kACCEPTED)
    {
        if (tensor.type == accepted.type && tensor.format == accepted.format)
        {
            return accepted.name;
        }
    }
    return -1;
}

// Feature levels sampled at the inverse of a separable warp; see README.md.
class SeparableUnzoomPlugin final : public Plugin<SeparableUnzoomPlugin>
{
public:
    static constexpr char const* kNAME = "SeparableUnzoom";

    explicit SeparableUnzoomPlugin(Fields const& fields)
        : mScaleY(fields.floats("scale_y"))
        , mOffsetY(fields.floats("offset_y"))
        , mScaleX(fields.floats("scale_x"))
        , mOffsetX(fields.floats("offset_x"))
        , mUpscale(fields.integer("upscale", 1))
    {
        fields.allowOnly({"scale_y", "offset_y", "scale_x", "offset_x", "upscale"});
        size_t const count = mScaleY.size();
        if (count < 1 || count > LZU_MOST_LEVELS)
        {
            fields.refuse("scale_y has " + std::to_string(count) + " values; give one per level, for 1 to "
                          + std::to_string(LZU_MOST_LEVELS) + " levels");
        }
        if (mOffsetY.size() != count || mScaleX.size() != count || mOffsetX.size() != count)
        {
            fields.refuse("scale_y, offset_y, scale_x and offset_x differ in length; give one value per level to each");
        }
        auto const isNegative = [](float scale) { return scale < 0.0F; };
        if (std::any_of(mScaleY.begin(), mScaleY.end(), isNegative)
            || std::any_of(mScaleX.begin(), mScaleX.end(), isNegative))
        {
            fields.refuse(
                "a scale is below 0; give the distance of a level's cells in [-1, 1] units, or 0 for an axis that "
                "the warp does not move");
        }
        if (mUpscale < 1 || mUpscale > kMOST_UPSCALE)
        {
            fields.refuse("upscale is " + std::to_string(mUpscale) + "; give 1 to " + std::to_string(kMOST_UPSCALE));
        }
        setTensors(static_cast<int32_t>(count) + 2, static_cast<int32_t>(count),
            "give as many levels as scale_y has values, then knots_x and knots_y");
        mTimingCacheId = "levels" + std::to_string(count) + "upscale" + std::to_string(mUpscale);
    }

    static std::vector<PluginField> names()
    {
        return {{"scale_y", nullptr, PluginFieldType::kFLOAT32}, {"offset_y", nullptr, PluginFieldType::kFLOAT32},
            {"scale_x", nullptr, PluginFieldType::kFLOAT32}, {"offset_x", nullptr, PluginFieldType::kFLOAT32},
            {"upscale", nullptr, PluginFieldType::kINT32, 1}};
    }

    void save(FieldStore& store) const
    {
        store.add("scale_y", mScaleY);
        store.add("offset_y", mOffsetY);
        store.add("scale_x", mScaleX);
        store.add("offset_x", mOffsetX);
        store.add("upscale", std::vector<int32_t>{mUpscale});
    }

    int32_t configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs,
        DynamicPluginTensorDesc const* /*out*/, int32_t /*nbOutputs*/) noexcept override
    {
        int32_t const format = nbInputs > 0 ? formatOf(in[0].desc) : -1;
        if (format < 0)
        {
            complain("the levels have a type or format that it does not support");
            return -1;
        }
        mTacticCount = lzu_unzoom_tactics(format);
        return 0;
    }

private:
    void setOutputTypes(DataType* outputs, DataType const* inputs) const noexcept override
    {
        std::copy(inputs, inputs + mOutputCount, outputs);
    }

    bool setOutputShapes(
        DimsExprs const* inputs, DimsExprs* outputs, IExprBuilder& exprBuilder) const noexcept override
    {
        IDimensionExpr const* const upscale = exprBuilder.constant(mUpscale);
        for (int32_t i = 0; i < mOutputCount; ++i)
        {
            if (inputs[i].nbDims != 4)
            {
                return complain("a level is not batch x channels x height x width");
            }
            outputs[i] = inputs[i];
            for (int32_t axis = 2; axis < 4 && mUpscale > 1; ++axis)
            {
                outputs[i].d[axis] = exprBuilder.operation(DimensionOperation::kPROD, *inputs[i].d[axis], *upscale);
            }
        }
        return true;
    }

    bool supports(int32_t pos, DynamicPluginTensorDesc const* inOut) const noexcept override
    {
        PluginTensorDesc const& tensor = inOut[pos].desc;
        if (pos == 0)
        {
            return formatOf(tensor) >= 0;
        }
        bool const isKnots = pos == mOutputCount || pos == mOutputCount + 1;
        // One launch serves all levels, so they share a format; and an INT8 output has its input's scale.
        return isKnots ? isFloatLinear(tensor) : isSame(tensor, inOut[0].desc);
    }

    bool checkShapes(PluginTensorDesc const* in, PluginTensorDesc const* out) const noexcept override
    {
        int64_t const batch = in[0].dims.d[0];
        for (int32_t i = 0; i < mOutputCount; ++i)
        {
            Dims const& from = in[i].dims;
            Dims const& to = out[i].dims;
            if (from.nbDims != 4 || to.nbDims != 4 || from.d[0] != batch || to.d[0] != batch || to.d[1] != from.d[1]
                || to.d[2] != from.d[2] * mUpscale || to.d[3] != from.d[3] * mUpscale)
            {
                return complain("a level's shape does not fit its output's");
            }
        }
        Dims const& x = in[mOutputCount].dims;
        Dims const& y = in[mOutputCount + 1].dims;
        if (!areKnots(x, batch) || !areKnots(y, batch) || x.d[0] != y.d[0])
        {
            return complain("knots_x and knots_y must be batch x count, or both 1 x count");
        }
        return true;
    }

    int32_t launchKernel(PluginTensorDesc const* in, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const noexcept override
    {
        int32_t const count = mOutputCount;
        LzuUnzoom call{};
        for (int32_t i = 0; i < count; ++i)
        {
            auto const at = static_cast<size_t>(i);
            call.levels[i] = {inputs[i], outputs[i], sideOf(in[i], 1), sideOf(in[i], 2), sideOf(in[i], 3), mUpscale,
                mScaleY[at], mOffsetY[at], mScaleX[at], mOffsetX[at]};
        }
        call.level_count = count;
        call.batch = sideOf(in[0], 0);
        call.format = formatOf(in[0]);
        if (call.format < 0)
        {
            complain("the levels have a type or format that it does not support");
            return -1;
        }
        call.tactic = std::min(mTactic, lzu_unzoom_tactics(call.format) - 1);
        call.knots_x = static_cast<float const*>(inputs[count]);
        call.knots_y = static_cast<float const*>(inputs[count + 1]);
        call.knot_count_x = sideOf(in[count], 1);
        call.knot_count_y = sideOf(in[count + 1], 1);
        call.shared_knots = sideOf(in[count], 0) == 1 ? 1 : 0;
        call.timing = mIsTimed ? 1 : 0;
        return lzu_unzoom(&call, stream);
    }

    std::vector<float> mScaleY;
    std::vector<float> mOffsetY;
    std::vector<float> mScaleX;
    std::vector<float> mOffsetX;
    int32_t mUpscale;
};

} // namespace

IPluginCreatorInterface* separableUnzoomCreator()
{
    static Creator<SeparableUnzoomPlugin> sCreator;
    return &sCreator;
}

} // namespace lzu
