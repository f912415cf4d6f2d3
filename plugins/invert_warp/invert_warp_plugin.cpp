#include "common/creators.h"
#include "common/plugin.h"
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

// The inverse of a warp that is not separable; see README.md.
class InvertWarpPlugin final : public Plugin<InvertWarpPlugin>
{
public:
    static constexpr char const* kNAME = "InvertWarp";

    explicit InvertWarpPlugin(Fields const& fields)
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
        setTensors(1, 1, "it takes knots and gives one grid");
        mTacticCount = lzu_invert_warp_tactics();
        mTimingCacheId = "size" + std::to_string(mSize[0]) + "x" + std::to_string(mSize[1]);
    }

    static std::vector<PluginField> names()
    {
        return {{"size", nullptr, PluginFieldType::kINT32, 2}, {"scale_y", nullptr, PluginFieldType::kFLOAT32, 1},
            {"offset_y", nullptr, PluginFieldType::kFLOAT32, 1}, {"scale_x", nullptr, PluginFieldType::kFLOAT32, 1},
            {"offset_x", nullptr, PluginFieldType::kFLOAT32, 1}, {"outside", nullptr, PluginFieldType::kFLOAT32, 1}};
    }

    void save(FieldStore& store) const
    {
        store.add("size", mSize);
        store.addNumbers({{"scale_y", mScaleY}, {"offset_y", mOffsetY}, {"scale_x", mScaleX}, {"offset_x", mOffsetX},
            {"outside", mOutside}});
    }

private:
    void setOutputTypes(DataType* outputs, DataType const* /*inputs*/) const noexcept override
    {
        outputs[0] = DataType::kFLOAT;
    }

    bool setOutputShapes(
        DimsExprs const* inputs, DimsExprs* outputs, IExprBuilder& exprBuilder) const noexcept override
    {
        if (inputs[0].nbDims != 4)
        {
            return complain("it takes knots batch x height x width x 2 and gives one grid");
        }
        outputs[0] = inputs[0];
        outputs[0].d[1] = exprBuilder.constant(mSize[0]);
        outputs[0].d[2] = exprBuilder.constant(mSize[1]);
        return true;
    }

    bool supports(int32_t pos, DynamicPluginTensorDesc const* inOut) const noexcept override
    {
        return isFloatLinear(inOut[pos].desc);
    }

    bool checkShapes(PluginTensorDesc const* in, PluginTensorDesc const* out) const noexcept override
    {
        Dims const& from = in[0].dims;
        Dims const& to = out[0].dims;
        if (from.nbDims != 4 || from.d[1] < 2 || from.d[2] < 2 || from.d[3] != 2)
        {
            return complain("knots must be batch x height x width x 2, of 2 x 2 knots at least");
        }
        // One side at a time, since their product may overflow.
        if (from.d[1] - 1 > LZU_MOST_TILE_ROWS || from.d[2] - 1 > LZU_MOST_TILES
            || (from.d[1] - 1) * (from.d[2] - 1) > LZU_MOST_TILES)
        {
            return complain("the knots have more tiles between them than the kernel takes, 65536 in 1024 rows; give a "
                            "smaller lattice");
        }
        if (to.nbDims != 4 || to.d[0] != from.d[0] || to.d[1] != mSize[0] || to.d[2] != mSize[1] || to.d[3] != 2)
        {
            return complain("the grid's shape is not batch x size x 2");
        }
        return true;
    }

    int32_t launchKernel(PluginTensorDesc const* in, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const noexcept override
    {
        LzuInvertWarp call{};
        call.knots = static_cast<float const*>(inputs[0]);
        call.grid = static_cast<float*>(outputs[0]);
        call.batch = sideOf(in[0], 0);
        call.lattice_height = sideOf(in[0], 1);
        call.lattice_width = sideOf(in[0], 2);
        call.height = mSize[0];
        call.width = mSize[1];
        call.scale_y = mScaleY;
        call.offset_y = mOffsetY;
        call.scale_x = mScaleX;
        call.offset_x = mOffsetX;
        call.outside = mOutside;
        call.tactic = std::min(mTactic, lzu_invert_warp_tactics() - 1);
        call.timing = mIsTimed ? 1 : 0;
        return lzu_invert_warp(&call, stream);
    }

    std::vector<int32_t> mSize; // height, width of the grid
    float mScaleY;              // row i of the grid stands at mScaleY * i + mOffsetY
    float mOffsetY;
    float mScaleX;
    float mOffsetX;
    float mOutside;
};

} // namespace

IPluginCreatorInterface* invertWarpCreator()
{
    static Creator<InvertWarpPlugin> sCreator;
    return &sCreator;
}

} // namespace lzu
