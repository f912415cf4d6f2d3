#include "separable_unzoom/separable_unzoom_plugin.h"

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

} // namespace

SeparableUnzoomPlugin::SeparableUnzoomPlugin(Fields const& fields)
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
    mTimingCacheId = "levels" + std::to_string(count) + "upscale" + std::to_string(mUpscale);
}

std::vector<PluginField> SeparableUnzoomPlugin::names()
{
    return {{"scale_y", nullptr, PluginFieldType::kFLOAT32}, {"offset_y", nullptr, PluginFieldType::kFLOAT32},
        {"scale_x", nullptr, PluginFieldType::kFLOAT32}, {"offset_x", nullptr, PluginFieldType::kFLOAT32},
        {"upscale", nullptr, PluginFieldType::kINT32, 1}};
}

void SeparableUnzoomPlugin::save(FieldStore& store) const
{
    store.add("scale_y", mScaleY);
    store.add("offset_y", mOffsetY);
    store.add("scale_x", mScaleX);
    store.add("offset_x", mOffsetX);
    store.add("upscale", std::vector<int32_t>{mUpscale});
}

int32_t SeparableUnzoomPlugin::levels() const noexcept
{
    return static_cast<int32_t>(mScaleY.size());
}

int32_t SeparableUnzoomPlugin::getNbOutputs() const noexcept
{
    return levels();
}

int32_t SeparableUnzoomPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t nbOutputs, DataType const* inputTypes, int32_t nbInputs) const noexcept
{
    if (nbOutputs != levels() || nbInputs != levels() + 2)
    {
        complain("give as many levels as scale_y has values, then knots_x and knots_y");
        return -1;
    }
    std::copy(inputTypes, inputTypes + nbOutputs, outputTypes);
    return 0;
}

int32_t SeparableUnzoomPlugin::getOutputShapes(DimsExprs const* inputs, int32_t nbInputs,
    DimsExprs const* /*shapeInputs*/, int32_t /*nbShapeInputs*/, DimsExprs* outputs, int32_t nbOutputs,
    IExprBuilder& exprBuilder) noexcept
{
    if (nbOutputs != levels() || nbInputs != levels() + 2)
    {
        complain("give as many levels as scale_y has values, then knots_x and knots_y");
        return -1;
    }
    IDimensionExpr const* const upscale = exprBuilder.constant(mUpscale);
    for (int32_t i = 0; i < nbOutputs; ++i)
    {
        if (inputs[i].nbDims != 4)
        {
            complain("a level is not batch x channels x height x width");
            return -1;
        }
        outputs[i] = inputs[i];
        for (int32_t axis = 2; axis < 4 && mUpscale > 1; ++axis)
        {
            outputs[i].d[axis] = exprBuilder.operation(DimensionOperation::kPROD, *inputs[i].d[axis], *upscale);
        }
    }
    return 0;
}

bool SeparableUnzoomPlugin::supportsFormatCombination(
    int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs, int32_t nbOutputs) noexcept
{
    if (nbOutputs != levels() || nbInputs != levels() + 2 || pos < 0 || pos >= nbInputs + nbOutputs)
    {
        return false;
    }
    PluginTensorDesc const& tensor = inOut[pos].desc;
    if (pos == 0)
    {
        return formatOf(tensor) >= 0;
    }
    bool const isKnots = pos == levels() || pos == levels() + 1;
    // One launch serves all levels, so they share a format; and an INT8 output has its input's scale.
    return isKnots ? isFloatLinear(tensor) : isSame(tensor, inOut[0].desc);
}

int32_t SeparableUnzoomPlugin::configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs,
    DynamicPluginTensorDesc const* /*out*/, int32_t /*nbOutputs*/) noexcept
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

char const* SeparableUnzoomPlugin::getTimingCacheID() noexcept
{
    return mTimingCacheId.c_str();
}

bool SeparableUnzoomPlugin::checkShapes(
    PluginTensorDesc const* in, int32_t nbInputs, PluginTensorDesc const* out, int32_t nbOutputs) const noexcept
{
    if (nbOutputs != levels() || nbInputs != levels() + 2)
    {
        return complain("give as many levels as scale_y has values, then knots_x and knots_y");
    }
    int64_t const batch = in[0].dims.d[0];
    for (int32_t i = 0; i < nbOutputs; ++i)
    {
        Dims const& from = in[i].dims;
        Dims const& to = out[i].dims;
        if (from.nbDims != 4 || to.nbDims != 4 || from.d[0] != batch || to.d[0] != batch || to.d[1] != from.d[1]
            || to.d[2] != from.d[2] * mUpscale || to.d[3] != from.d[3] * mUpscale)
        {
            return complain("a level's shape does not fit its output's");
        }
    }
    if (!areKnots(in[levels()].dims, batch) || !areKnots(in[levels() + 1].dims, batch)
        || in[levels()].dims.d[0] != in[levels() + 1].dims.d[0])
    {
        return complain("knots_x and knots_y must be batch x count, or both 1 x count");
    }
    return true;
}

int32_t SeparableUnzoomPlugin::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc,
    void const* const* inputs, void* const* outputs, void* /*workspace*/, cudaStream_t stream) noexcept
{
    int32_t const count = levels();
    if (!checkShapes(inputDesc, count + 2, outputDesc, count))
    {
        return -1;
    }
    LzuUnzoom call{};
    for (int32_t i = 0; i < count; ++i)
    {
        Dims const& dims = inputDesc[i].dims;
        auto const at = static_cast<size_t>(i);
        call.levels[i] = {inputs[i], outputs[i], static_cast<int32_t>(dims.d[1]), static_cast<int32_t>(dims.d[2]),
            static_cast<int32_t>(dims.d[3]), mUpscale, mScaleY[at], mOffsetY[at], mScaleX[at], mOffsetX[at]};
    }
    call.level_count = count;
    call.batch = static_cast<int32_t>(inputDesc[0].dims.d[0]);
    call.format = formatOf(inputDesc[0]);
    if (call.format < 0)
    {
        complain("the levels have a type or format that it does not support");
        return -1;
    }
    call.tactic = std::min(mTactic, lzu_unzoom_tactics(call.format) - 1);
    call.knots_x = static_cast<float const*>(inputs[count]);
    call.knots_y = static_cast<float const*>(inputs[count + 1]);
    call.knot_count_x = static_cast<int32_t>(inputDesc[count].dims.d[1]);
    call.knot_count_y = static_cast<int32_t>(inputDesc[count + 1].dims.d[1]);
    call.shared_knots = inputDesc[count].dims.d[0] == 1 ? 1 : 0;
    return lzu_unzoom(&call, stream);
}

} // namespace lzu
