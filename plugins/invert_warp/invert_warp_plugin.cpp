#include "invert_warp/invert_warp_plugin.h"

#include "kernels/lzu_kernels.h"

#include <algorithm>

namespace lzu
{

using namespace nvinfer1;

namespace
{

// Any place so far outside [-1, 1] that bilinear sampling with zeros outside reads nothing there.
constexpr float kOUTSIDE = 4.0F;

// Largest side of the grid.
constexpr int32_t kMOST_GRID = 65535;

// The centres of n pixels, from -1 to 1; a single one is at 0.
float centreSpacing(int32_t n)
{
    return n > 1 ? 2.0F / static_cast<float>(n - 1) : 0.0F;
}

float firstCentre(int32_t n)
{
    return n > 1 ? -1.0F : 0.0F;
}

} // namespace

InvertWarpPlugin::InvertWarpPlugin(Fields const& fields)
    : mSize(fields.ints("size", 2))
    , mScaleY(fields.number("scale_y", centreSpacing(mSize[0])))
    , mOffsetY(fields.number("offset_y", firstCentre(mSize[0])))
    , mScaleX(fields.number("scale_x", centreSpacing(mSize[1])))
    , mOffsetX(fields.number("offset_x", firstCentre(mSize[1])))
    , mOutside(fields.number("outside", kOUTSIDE))
{
    fields.allowOnly({"size", "scale_y", "offset_y", "scale_x", "offset_x", "outside"});
    if (mSize[0] < 1 || mSize[1] < 1 || mSize[0] > kMOST_GRID || mSize[1] > kMOST_GRID)
    {
        fields.refuse("size is " + std::to_string(mSize[0]) + " x " + std::to_string(mSize[1])
                      + "; give the grid's height and width, at least 1");
    }
    mTimingCacheId = "size" + std::to_string(mSize[0]) + "x" + std::to_string(mSize[1]);
}

std::vector<PluginField> InvertWarpPlugin::names()
{
    return {{"size", nullptr, PluginFieldType::kINT32, 2}, {"scale_y", nullptr, PluginFieldType::kFLOAT32, 1},
        {"offset_y", nullptr, PluginFieldType::kFLOAT32, 1}, {"scale_x", nullptr, PluginFieldType::kFLOAT32, 1},
        {"offset_x", nullptr, PluginFieldType::kFLOAT32, 1}, {"outside", nullptr, PluginFieldType::kFLOAT32, 1}};
}

void InvertWarpPlugin::save(FieldStore& store) const
{
    store.add("size", mSize);
    store.add("scale_y", std::vector<float>{mScaleY});
    store.add("offset_y", std::vector<float>{mOffsetY});
    store.add("scale_x", std::vector<float>{mScaleX});
    store.add("offset_x", std::vector<float>{mOffsetX});
    store.add("outside", std::vector<float>{mOutside});
}

int32_t InvertWarpPlugin::getNbOutputs() const noexcept
{
    return 1;
}

int32_t InvertWarpPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t nbOutputs, DataType const* /*inputTypes*/, int32_t nbInputs) const noexcept
{
    if (nbOutputs != 1 || nbInputs != 1)
    {
        complain("it takes knots and gives one grid");
        return -1;
    }
    outputTypes[0] = DataType::kFLOAT;
    return 0;
}

int32_t InvertWarpPlugin::getOutputShapes(DimsExprs const* inputs, int32_t nbInputs, DimsExprs const* /*shapeInputs*/,
    int32_t /*nbShapeInputs*/, DimsExprs* outputs, int32_t nbOutputs, IExprBuilder& exprBuilder) noexcept
{
    if (nbOutputs != 1 || nbInputs != 1 || inputs[0].nbDims != 4)
    {
        complain("it takes knots batch x height x width x 2 and gives one grid");
        return -1;
    }
    outputs[0] = inputs[0];
    outputs[0].d[1] = exprBuilder.constant(mSize[0]);
    outputs[0].d[2] = exprBuilder.constant(mSize[1]);
    return 0;
}

bool InvertWarpPlugin::supportsFormatCombination(
    int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs, int32_t nbOutputs) noexcept
{
    return nbInputs == 1 && nbOutputs == 1 && (pos == 0 || pos == 1) && isFloatLinear(inOut[pos].desc);
}

int32_t InvertWarpPlugin::configurePlugin(DynamicPluginTensorDesc const* /*in*/, int32_t /*nbInputs*/,
    DynamicPluginTensorDesc const* /*out*/, int32_t /*nbOutputs*/) noexcept
{
    mTacticCount = lzu_invert_warp_tactics();
    return 0;
}

char const* InvertWarpPlugin::getTimingCacheID() noexcept
{
    return mTimingCacheId.c_str();
}

bool InvertWarpPlugin::checkShapes(
    PluginTensorDesc const* in, int32_t nbInputs, PluginTensorDesc const* out, int32_t nbOutputs) const noexcept
{
    if (nbInputs != 1 || nbOutputs != 1)
    {
        return complain("it takes knots and gives one grid");
    }
    Dims const& from = in[0].dims;
    Dims const& to = out[0].dims;
    if (from.nbDims != 4 || from.d[1] < 2 || from.d[2] < 2 || from.d[3] != 2
        || (from.d[1] - 1) * (from.d[2] - 1) > LZU_MOST_TILES)
    {
        return complain("knots must be batch x height x width x 2, of 2 x 2 knots at least and 65536 tiles at most");
    }
    if (to.nbDims != 4 || to.d[0] != from.d[0] || to.d[1] != mSize[0] || to.d[2] != mSize[1] || to.d[3] != 2)
    {
        return complain("the grid's shape is not batch x size x 2");
    }
    return true;
}

int32_t InvertWarpPlugin::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc,
    void const* const* inputs, void* const* outputs, void* /*workspace*/, cudaStream_t stream) noexcept
{
    if (!checkShapes(inputDesc, 1, outputDesc, 1))
    {
        return -1;
    }
    Dims const& dims = inputDesc[0].dims;
    LzuInvertWarp call{};
    call.knots = static_cast<float const*>(inputs[0]);
    call.grid = static_cast<float*>(outputs[0]);
    call.batch = static_cast<int32_t>(dims.d[0]);
    call.lattice_height = static_cast<int32_t>(dims.d[1]);
    call.lattice_width = static_cast<int32_t>(dims.d[2]);
    call.height = mSize[0];
    call.width = mSize[1];
    call.scale_y = mScaleY;
    call.offset_y = mOffsetY;
    call.scale_x = mScaleX;
    call.offset_x = mOffsetX;
    call.outside = mOutside;
    call.tactic = std::min(mTactic, lzu_invert_warp_tactics() - 1);
    return lzu_invert_warp(&call, stream);
}

} // namespace lzu
