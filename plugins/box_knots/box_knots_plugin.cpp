#include "common/creators.h"
#include "common/plugin.h"
#include "kernels/lzu_kernels.h"

namespace lzu
{

using namespace nvinfer1;

namespace
{

int64_t volumeOf(Dims const& dims)
{
    int64_t volume = 1;
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        volume *= dims.d[i];
    }
    return volume;
}

// Boxes to the knots of the separable warp that looks at them; see README.md.
class BoxKnotsPlugin final : public Plugin<BoxKnotsPlugin>
{
public:
    static constexpr char const* kNAME = "BoxKnots";

    // Inputs in their order.
    enum : int32_t
    {
        kBOXES,
        kVALID,
        kAMPLITUDE,
        kBANDWIDTH,
        kFIXED_X,
        kFIXED_Y,
        kINPUTS
    };

    explicit BoxKnotsPlugin(Fields const& fields)
        : mLattice(fields.ints("lattice", 2))
        , mSource(fields.ints("source", 2))
        , mFwhm(fields.number("fwhm"))
        , mMix(fields.number("mix"))
        , mMinSide(fields.number("min_side", 1.0F))
    {
        fields.allowOnly({"lattice", "source", "fwhm", "mix", "min_side"});
        for (int32_t const side : mLattice)
        {
            if (side < 2 || side > LZU_MOST_LATTICE)
            {
                fields.refuse("lattice is " + std::to_string(mLattice[0]) + " x " + std::to_string(mLattice[1])
                              + "; give height and width of 2 to " + std::to_string(LZU_MOST_LATTICE));
            }
        }
        if (mSource[0] < 1 || mSource[1] < 1)
        {
            fields.refuse("source is " + std::to_string(mSource[0]) + " x " + std::to_string(mSource[1])
                          + "; give its height and width in pixels");
        }
        if (!(mFwhm > 0.0F))
        {
            fields.refuse("fwhm is " + std::to_string(mFwhm) + "; give a width above 0 in lattice cells");
        }
        if (!(mMix >= 0.0F && mMix <= 1.0F))
        {
            fields.refuse("mix is " + std::to_string(mMix) + "; give the boxes' share as a number from 0 to 1");
        }
        if (!(mMinSide > 0.0F))
        {
            fields.refuse("min_side is " + std::to_string(mMinSide) + "; give a number of pixels above 0");
        }
        setTensors(kINPUTS, 2,
            "it takes boxes, valid, amplitude, bandwidth, fixed_x and fixed_y, and gives knots_x and knots_y");
    }

    static std::vector<PluginField> names()
    {
        return {{"lattice", nullptr, PluginFieldType::kINT32, 2}, {"source", nullptr, PluginFieldType::kINT32, 2},
            {"fwhm", nullptr, PluginFieldType::kFLOAT32, 1}, {"mix", nullptr, PluginFieldType::kFLOAT32, 1},
            {"min_side", nullptr, PluginFieldType::kFLOAT32, 1}};
    }

    void save(FieldStore& store) const
    {
        store.add("lattice", mLattice);
        store.add("source", mSource);
        store.addNumbers({{"fwhm", mFwhm}, {"mix", mMix}, {"min_side", mMinSide}});
    }

private:
    void setOutputTypes(DataType* outputs, DataType const* /*inputs*/) const noexcept override
    {
        outputs[0] = DataType::kFLOAT;
        outputs[1] = DataType::kFLOAT;
    }

    bool setOutputShapes(
        DimsExprs const* inputs, DimsExprs* outputs, IExprBuilder& exprBuilder) const noexcept override
    {
        if (inputs[kBOXES].nbDims != 3)
        {
            return complain(mTensors);
        }
        for (int32_t i = 0; i < 2; ++i)
        {
            outputs[i].nbDims = 2;
            outputs[i].d[0] = inputs[kBOXES].d[0];
            outputs[i].d[1] = exprBuilder.constant(i == 0 ? mLattice[1] : mLattice[0]);
        }
        return true;
    }

    bool supports(int32_t pos, DynamicPluginTensorDesc const* inOut) const noexcept override
    {
        return isFloatLinear(inOut[pos].desc);
    }

    bool checkShapes(PluginTensorDesc const* in, PluginTensorDesc const* out) const noexcept override
    {
        Dims const& boxes = in[kBOXES].dims;
        Dims const& valid = in[kVALID].dims;
        if (boxes.nbDims != 3 || boxes.d[2] != 4 || boxes.d[1] > LZU_MOST_BOXES || valid.nbDims != 2
            || valid.d[0] != boxes.d[0] || valid.d[1] != boxes.d[1])
        {
            return complain("boxes must be batch x N x 4 and valid batch x N, of at most 1024 boxes");
        }
        if (volumeOf(in[kAMPLITUDE].dims) != 1 || volumeOf(in[kBANDWIDTH].dims) != 1)
        {
            return complain("amplitude and bandwidth must be one number each");
        }
        if (volumeOf(in[kFIXED_X].dims) != mLattice[1] || volumeOf(in[kFIXED_Y].dims) != mLattice[0])
        {
            return complain("fixed_x and fixed_y must have as many values as the lattice has columns and rows");
        }
        if (volumeOf(out[0].dims) != boxes.d[0] * mLattice[1] || volumeOf(out[1].dims) != boxes.d[0] * mLattice[0])
        {
            return complain("knots_x and knots_y must be batch x columns and batch x rows of the lattice");
        }
        return true;
    }

    int32_t launchKernel(PluginTensorDesc const* in, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const noexcept override
    {
        auto const input = [inputs](int32_t i) { return static_cast<float const*>(inputs[i]); };
        LzuBoxKnots call{};
        call.boxes = input(kBOXES);
        call.valid = input(kVALID);
        call.amplitude = input(kAMPLITUDE);
        call.bandwidth = input(kBANDWIDTH);
        call.fixed_x = input(kFIXED_X);
        call.fixed_y = input(kFIXED_Y);
        call.knots_x = static_cast<float*>(outputs[0]);
        call.knots_y = static_cast<float*>(outputs[1]);
        call.batch = sideOf(in[kBOXES], 0);
        call.box_count = sideOf(in[kBOXES], 1);
        call.lattice_height = mLattice[0];
        call.lattice_width = mLattice[1];
        call.source_height = mSource[0];
        call.source_width = mSource[1];
        call.fwhm = mFwhm;
        call.mix = mMix;
        call.min_side = mMinSide;
        return lzu_box_knots(&call, stream);
    }

    std::vector<int32_t> mLattice; // height, width
    std::vector<int32_t> mSource;  // height, width, pixels
    float mFwhm;
    float mMix;
    float mMinSide;
};

} // namespace

IPluginCreatorInterface* boxKnotsCreator()
{
    static Creator<BoxKnotsPlugin> sCreator;
    return &sCreator;
}

} // namespace lzu
