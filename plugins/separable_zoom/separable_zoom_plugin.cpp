#include "common/creators.h"
#include "common/plugin.h"
#include "kernels/lzu_kernels.h"

#include <algorithm>

namespace lzu
{

using namespace nvinfer1;

namespace
{

// Largest canvas and padding on an axis, in pixels.
constexpr int32_t kMOST_CANVAS = 65536;

// An image sampled at a separable warp and padded; see README.md.
class SeparableZoomPlugin final : public Plugin<SeparableZoomPlugin>
{
public:
    static constexpr char const* kNAME = "SeparableZoom";

    explicit SeparableZoomPlugin(Fields const& fields)
        : mCanvas(fields.ints("canvas", 2))
        , mPad(fields.ints("pad", 2))
    {
        fields.allowOnly({"canvas", "pad"});
        auto const isSide = [](int32_t side) { return side >= 1 && side <= kMOST_CANVAS; };
        if (!isSide(mCanvas[0]) || !isSide(mCanvas[1]))
        {
            fields.refuse("canvas is " + std::to_string(mCanvas[0]) + " x " + std::to_string(mCanvas[1])
                          + "; give height and width of at least 1");
        }
        if (mPad[0] < 0 || mPad[1] < 0 || mPad[0] > kMOST_CANVAS || mPad[1] > kMOST_CANVAS)
        {
            fields.refuse("pad is " + std::to_string(mPad[0]) + " and " + std::to_string(mPad[1])
                          + "; give rows below and columns at the right, of at least 0");
        }
        setTensors(3, 1, "it takes an image, knots_x and knots_y, and gives one output");
        mTimingCacheId = "canvas" + std::to_string(mCanvas[0]) + "x" + std::to_string(mCanvas[1]);
    }

    static std::vector<PluginField> names()
    {
        return {{"canvas", nullptr, PluginFieldType::kINT32, 2}, {"pad", nullptr, PluginFieldType::kINT32, 2}};
    }

    void save(FieldStore& store) const
    {
        store.add("canvas", mCanvas);
        store.add("pad", mPad);
    }

    int32_t configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs,
        DynamicPluginTensorDesc const* /*out*/, int32_t /*nbOutputs*/) noexcept override
    {
        bool const isHalf = nbInputs > 0 && isHalfLinear(in[0].desc);
        mTacticCount = lzu_zoom_tactics(isHalf ? LZU_F16_LINEAR : LZU_F32_LINEAR);
        return 0;
    }

private:
    void setOutputTypes(DataType* outputs, DataType const* inputs) const noexcept override
    {
        outputs[0] = inputs[0];
    }

    bool setOutputShapes(
        DimsExprs const* inputs, DimsExprs* outputs, IExprBuilder& exprBuilder) const noexcept override
    {
        if (inputs[0].nbDims != 4)
        {
            return complain(
                "it takes an image batch x channels x height x width, knots_x and knots_y, and gives one output");
        }
        outputs[0] = inputs[0];
        outputs[0].d[2] = exprBuilder.constant(mCanvas[0] + mPad[0]);
        outputs[0].d[3] = exprBuilder.constant(mCanvas[1] + mPad[1]);
        return true;
    }

    bool supports(int32_t pos, DynamicPluginTensorDesc const* inOut) const noexcept override
    {
        PluginTensorDesc const& tensor = inOut[pos].desc;
        switch (pos)
        {
        case 0: return isFloatLinear(tensor) || isHalfLinear(tensor);
        case 3: return isSame(tensor, inOut[0].desc);
        default: return isFloatLinear(tensor);
        }
    }

    bool checkShapes(PluginTensorDesc const* in, PluginTensorDesc const* out) const noexcept override
    {
        Dims const& from = in[0].dims;
        Dims const& to = out[0].dims;
        if (from.nbDims != 4 || to.nbDims != 4 || to.d[0] != from.d[0] || to.d[1] != from.d[1]
            || to.d[2] != mCanvas[0] + mPad[0] || to.d[3] != mCanvas[1] + mPad[1])
        {
            return complain("the output's shape is not that of the padded canvas");
        }
        if (!areKnots(in[1].dims, from.d[0]) || !areKnots(in[2].dims, from.d[0]) || in[1].dims.d[0] != in[2].dims.d[0])
        {
            return complain("knots_x and knots_y must be batch x count, or both 1 x count");
        }
        return true;
    }

    int32_t launchKernel(PluginTensorDesc const* in, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const noexcept override
    {
        LzuZoom call{};
        call.input = inputs[0];
        call.output = outputs[0];
        call.batch = sideOf(in[0], 0);
        call.channels = sideOf(in[0], 1);
        call.height = sideOf(in[0], 2);
        call.width = sideOf(in[0], 3);
        call.canvas_height = mCanvas[0];
        call.canvas_width = mCanvas[1];
        call.pad_y = mPad[0];
        call.pad_x = mPad[1];
        call.format = isHalfLinear(in[0]) ? LZU_F16_LINEAR : LZU_F32_LINEAR;
        call.tactic = std::min(mTactic, lzu_zoom_tactics(call.format) - 1);
        call.knots_x = static_cast<float const*>(inputs[1]);
        call.knots_y = static_cast<float const*>(inputs[2]);
        call.knot_count_x = sideOf(in[1], 1);
        call.knot_count_y = sideOf(in[2], 1);
        call.shared_knots = sideOf(in[1], 0) == 1 ? 1 : 0;
        call.timing = mIsTimed ? 1 : 0;
        return lzu_zoom(&call, stream);
    }

    std::vector<int32_t> mCanvas; // height, width
    std::vector<int32_t> mPad;    // rows below, columns at the right
};

} // namespace

IPluginCreatorInterface* separableZoomCreator()
{
    static Creator<SeparableZoomPlugin> sCreator;
    return &sCreator;
}

} // namespace lzu
