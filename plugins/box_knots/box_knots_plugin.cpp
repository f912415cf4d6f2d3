#include "box_knots/box_knots_plugin.h"

#include "kernels/lzu_kernels.h"

namespace lzu
{

using namespace nvinfer1;

namespace
{

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

constexpr char const* kINPUT_SENTENCE
    = "it takes boxes, valid, amplitude, bandwidth, fixed_x and fixed_y, and gives knots_x and knots_y";

int64_t volumeOf(Dims const& dims)
{
    int64_t volume = 1;
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        volume *= dims.d[i];
    }
    return volume;
}

} // namespace

BoxKnotsPlugin::BoxKnotsPlugin(Fields const& fields)
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
}

std::vector<PluginField> BoxKnotsPlugin::names()
{
    return {{"lattice", nullptr, PluginFieldType::kINT32, 2}, {"source", nullptr, PluginFieldType::kINT32, 2},
        {"fwhm", nullptr, PluginFieldType::kFLOAT32, 1}, {"mix", nullptr, PluginFieldType::kFLOAT32, 1},
        {"min_side", nullptr, PluginFieldType::kFLOAT32, 1}};
}

void BoxKnotsPlugin::save(FieldStore& store) const
{
    store.add("lattice", mLattice);
    store.add("source", mSource);
    store.add("fwhm", std::vector<float>{mFwhm});
    store.add("mix", std::vector<float>{mMix});
    store.add("min_side", std::vector<float>{mMinSide});
}

int32_t BoxKnotsPlugin::getNbOutputs() const noexcept
{
    return 2;
}

int32_t BoxKnotsPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t nbOutputs, DataType const* /*inputTypes*/, int32_t nbInputs) const noexcept
{
    if (nbOutputs != 2 || nbInputs != kINPUTS)
    {
        complain(kINPUT_SENTENCE);
        return -1;
    }
    outputTypes[0] = DataType::kFLOAT;
    outputTypes[1] = DataType::kFLOAT;
    return 0;
}

int32_t BoxKnotsPlugin::getOutputShapes(DimsExprs const* inputs, int32_t nbInputs, DimsExprs const* /*shapeInputs*/,
    int32_t /*nbShapeInputs*/, DimsExprs* outputs, int32_t nbOutputs, IExprBuilder& exprBuilder) noexcept
{
    if (nbOutputs != 2 || nbInputs != kINPUTS || inputs[kBOXES].nbDims != 3)
    {
        complain(kINPUT_SENTENCE);
        return -1;
    }
    for (int32_t i = 0; i < 2; ++i)
    {
        outputs[i].nbDims = 2;
        outputs[i].d[0] = inputs[kBOXES].d[0];
        outputs[i].d[1] = exprBuilder.constant(i == 0 ? mLattice[1] : mLattice[0]);
    }
    return 0;
}

bool BoxKnotsPlugin::supportsFormatCombination(
    int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs, int32_t nbOutputs) noexcept
{
    return nbInputs == kINPUTS && nbOutputs == 2 && pos >= 0 && pos < kINPUTS + 2 && isFloatLinear(inOut[pos].desc);
}

int32_t BoxKnotsPlugin::configurePlugin(DynamicPluginTensorDesc const* /*in*/, int32_t /*nbInputs*/,
    DynamicPluginTensorDesc const* /*out*/, int32_t /*nbOutputs*/) noexcept
{
    return 0;
}

bool BoxKnotsPlugin::checkShapes(
    PluginTensorDesc const* in, int32_t nbInputs, PluginTensorDesc const* out, int32_t nbOutputs) const noexcept
{
    if (nbInputs != kINPUTS || nbOutputs != 2)
    {
        return complain(kINPUT_SENTENCE);
    }
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

int32_t BoxKnotsPlugin::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc,
    void const* const* inputs, void* const* outputs, void* /*workspace*/, cudaStream_t stream) noexcept
{
    if (!checkShapes(inputDesc, kINPUTS, outputDesc, 2))
    {
        return -1;
    }
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
    call.batch = static_cast<int32_t>(inputDesc[kBOXES].dims.d[0]);
    call.box_count = static_cast<int32_t>(inputDesc[kBOXES].dims.d[1]);
    call.lattice_height = mLattice[0];
    call.lattice_width = mLattice[1];
    call.source_height = mSource[0];
    call.source_width = mSource[1];
    call.fwhm = mFwhm;
    call.mix = mMix;
    call.min_side = mMinSide;
    return lzu_box_knots(&call, stream);
}

} // namespace lzu
