#pragma once

#include "common/plugin.h"

namespace lzu
{

// The inverse of a warp that is not separable; see README.md.
class InvertWarpPlugin final : public Plugin<InvertWarpPlugin>
{
public:
    static constexpr char const* kNAME = "InvertWarp";

    explicit InvertWarpPlugin(Fields const& fields);
    static std::vector<nvinfer1::PluginField> names();
    void save(FieldStore& store) const;

    // Build

    int32_t getNbOutputs() const noexcept override;
    int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs, nvinfer1::DataType const* inputTypes,
        int32_t nbInputs) const noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs, nvinfer1::DimsExprs const* shapeInputs,
        int32_t nbShapeInputs, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
        nvinfer1::IExprBuilder& exprBuilder) noexcept override;
    bool supportsFormatCombination(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
        int32_t nbOutputs) noexcept override;
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t nbInputs,
        nvinfer1::DynamicPluginTensorDesc const* out, int32_t nbOutputs) noexcept override;
    char const* getTimingCacheID() noexcept override;

    // Runtime

    int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
        void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;

private:
    bool checkShapes(nvinfer1::PluginTensorDesc const* in, int32_t nbInputs, nvinfer1::PluginTensorDesc const* out,
        int32_t nbOutputs) const noexcept override;

    std::vector<int32_t> mSize; // height, width of the grid
    float mScaleY;              // row i of the grid stands at mScaleY * i + mOffsetY
    float mOffsetY;
    float mScaleX;
    float mOffsetX;
    float mOutside;
    std::string mTimingCacheId;
};

} // namespace lzu
