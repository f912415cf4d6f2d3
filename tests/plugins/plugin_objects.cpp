// Creates every plugin through the library's two entry points, on a machine without TensorRT, and checks what a builder
// and a runtime would ask of it. Prints, as JSON, what a contract can be compared with.
//
//   plugin_objects LIBRARY [--run]     --run: a library whose kernels run on the host; layers are executed, too
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

using namespace nvinfer1;

namespace
{

void check(bool holds, char const* what, int line)
{
    if (!holds)
    {
        std::fprintf(stderr, "line %d: %s\n", line, what);
        std::exit(1);
    }
}

#define CHECK(condition) check((condition), #condition, __LINE__)

// --- what TensorRT would provide ---------------------------------------------------------------

class RecordingLogger : public ILogger
{
public:
    void log(Severity severity, AsciiChar const* message) noexcept override
    {
        CHECK(severity == Severity::kERROR);
        messages.emplace_back(message);
    }

    std::vector<std::string> messages;
};

RecordingLogger gLogger;

class Finder : public ILoggerFinder
{
public:
    ILogger* findLogger() override
    {
        return &gLogger;
    }
};

class Size : public IDimensionExpr
{
public:
    explicit Size(int64_t value)
        : number(value)
        , mImplementation(value)
    {
        mImpl = &mImplementation;
    }

    ~Size() noexcept override = default;

    int64_t number;

private:
    struct Implementation : apiv::VDimensionExpr
    {
        explicit Implementation(int64_t value)
            : mValue(value)
        {
        }

        bool isConstant() const override
        {
            return true;
        }

        int64_t getConstantValue() const override
        {
            return mValue;
        }

        bool isSizeTensor() const override
        {
            return false;
        }

        int64_t mValue;
    };

    Implementation mImplementation;
};

std::vector<std::unique_ptr<Size>> gSizes;

IDimensionExpr const* sizeOf(int64_t value)
{
    gSizes.push_back(std::make_unique<Size>(value));
    return gSizes.back().get();
}

class Builder : public IExprBuilder
{
public:
    Builder()
    {
        mImpl = &mImplementation;
    }

    ~Builder() noexcept override = default;

private:
    struct Implementation : apiv::VExprBuilder
    {
        IDimensionExpr const* constant(int64_t value) override
        {
            return sizeOf(value);
        }

        IDimensionExpr const* operation(
            DimensionOperation op, IDimensionExpr const& first, IDimensionExpr const& second) override
        {
            CHECK(op == DimensionOperation::kPROD);
            return sizeOf(first.getConstantValue() * second.getConstantValue());
        }

        IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override
        {
            return nullptr;
        }
    };

    Implementation mImplementation;
};

// --- a set of fields ---------------------------------------------------------------------------

struct FieldSet
{
    std::map<std::string, std::vector<float>> floats;
    std::map<std::string, std::vector<int32_t>> ints;
    std::map<std::string, std::vector<int64_t>> longs;
    std::map<std::string, std::vector<double>> doubles;

    std::vector<PluginField> fields() const
    {
        std::vector<PluginField> all;
        for (auto const& [name, v] : floats)
        {
            all.emplace_back(name.c_str(), v.data(), PluginFieldType::kFLOAT32, static_cast<int32_t>(v.size()));
        }
        for (auto const& [name, v] : ints)
        {
            all.emplace_back(name.c_str(), v.data(), PluginFieldType::kINT32, static_cast<int32_t>(v.size()));
        }
        for (auto const& [name, v] : longs)
        {
            all.emplace_back(name.c_str(), v.data(), PluginFieldType::kINT64, static_cast<int32_t>(v.size()));
        }
        for (auto const& [name, v] : doubles)
        {
            all.emplace_back(name.c_str(), v.data(), PluginFieldType::kFLOAT64, static_cast<int32_t>(v.size()));
        }
        return all;
    }
};

using Shape = std::vector<int64_t>;

struct Case
{
    std::string name;
    FieldSet good;
    std::vector<Shape> inputs;
    std::vector<Shape> outputs;
    int warpInputs; // inputs and outputs before it may have other types than float
};

std::map<std::string, IPluginCreatorV3One*> gCreators;

std::unique_ptr<IPluginV3> create(std::string const& name, FieldSet const& set)
{
    auto const fields = set.fields();
    PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
    return std::unique_ptr<IPluginV3>(gCreators.at(name)->createPlugin("layer", &collection, TensorRTPhase::kBUILD));
}

template <class Capability>
Capability* as(IPluginV3& plugin, PluginCapabilityType type)
{
    auto* const found = static_cast<Capability*>(plugin.getCapabilityInterface(type));
    CHECK(found != nullptr);
    return found;
}

IPluginV3OneCore* core(IPluginV3& plugin)
{
    return as<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE);
}

IPluginV3OneBuild* build(IPluginV3& plugin)
{
    return as<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
}

IPluginV3OneRuntime* runtime(IPluginV3& plugin)
{
    return as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

Dims dimsOf(Shape const& shape)
{
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), dims.d);
    return dims;
}

PluginTensorDesc describe(
    Shape const& shape, DataType type = DataType::kFLOAT, TensorFormat format = TensorFormat::kLINEAR)
{
    PluginTensorDesc desc{};
    desc.dims = dimsOf(shape);
    desc.type = type;
    desc.format = format;
    desc.scale = 1.0F;
    return desc;
}

std::vector<PluginTensorDesc> describeAll(std::vector<Shape> const& shapes)
{
    std::vector<PluginTensorDesc> all;
    for (Shape const& shape : shapes)
    {
        all.push_back(describe(shape));
    }
    return all;
}

// --- names -------------------------------------------------------------------------------------

std::map<DataType, char const*> const kTYPES = {{DataType::kFLOAT, "float32"}, {DataType::kHALF, "float16"},
    {DataType::kINT8, "int8"}, {DataType::kINT32, "int32"}, {DataType::kBOOL, "bool"}, {DataType::kUINT8, "uint8"},
    {DataType::kFP8, "float8"}, {DataType::kBF16, "bfloat16"}, {DataType::kINT64, "int64"}};

std::map<TensorFormat, char const*> const kFORMATS = {{TensorFormat::kLINEAR, "linear"}, {TensorFormat::kCHW2, "chw2"},
    {TensorFormat::kHWC8, "hwc8"}, {TensorFormat::kCHW4, "chw4"}, {TensorFormat::kCHW16, "chw16"},
    {TensorFormat::kCHW32, "chw32"}, {TensorFormat::kDHWC8, "dhwc8"}, {TensorFormat::kCDHW32, "cdhw32"},
    {TensorFormat::kHWC, "hwc"}, {TensorFormat::kDLA_LINEAR, "dla_linear"}, {TensorFormat::kDLA_HWC4, "dla_hwc4"},
    {TensorFormat::kHWC16, "hwc16"}, {TensorFormat::kDHWC, "dhwc"}};

// --- checks ------------------------------------------------------------------------------------

void checkShapesAndTypes(Case const& test, IPluginV3& plugin)
{
    auto const inputs = static_cast<int32_t>(test.inputs.size());
    auto const outputs = static_cast<int32_t>(test.outputs.size());
    CHECK(build(plugin)->getNbOutputs() == outputs);
    std::vector<DimsExprs> in(test.inputs.size());
    for (size_t i = 0; i < in.size(); ++i)
    {
        in[i].nbDims = static_cast<int32_t>(test.inputs[i].size());
        for (size_t axis = 0; axis < test.inputs[i].size(); ++axis)
        {
            in[i].d[axis] = sizeOf(test.inputs[i][axis]);
        }
    }
    std::vector<DimsExprs> out(test.outputs.size());
    Builder builder;
    CHECK(build(plugin)->getOutputShapes(in.data(), inputs, nullptr, 0, out.data(), outputs, builder) == 0);
    for (size_t i = 0; i < out.size(); ++i)
    {
        CHECK(out[i].nbDims == static_cast<int32_t>(test.outputs[i].size()));
        for (size_t axis = 0; axis < test.outputs[i].size(); ++axis)
        {
            CHECK(out[i].d[axis]->getConstantValue() == test.outputs[i][axis]);
        }
    }
    CHECK(build(plugin)->getOutputShapes(in.data(), inputs + 1, nullptr, 0, out.data(), outputs, builder) != 0);

    std::vector<DataType> const types(test.inputs.size(), DataType::kFLOAT);
    std::vector<DataType> made(test.outputs.size(), DataType::kBOOL);
    CHECK(build(plugin)->getOutputDataTypes(made.data(), outputs, types.data(), inputs) == 0);
    for (DataType const type : made)
    {
        CHECK(type == DataType::kFLOAT);
    }

    auto const from = describeAll(test.inputs);
    auto to = describeAll(test.outputs);
    CHECK(runtime(plugin)->onShapeChange(from.data(), inputs, to.data(), outputs) == 0);
    to[0].dims.d[1] += 1;
    CHECK(runtime(plugin)->onShapeChange(from.data(), inputs, to.data(), outputs) != 0);
}

// What is accepted at each position while all others are as they were accepted before: `"level": ["float32 linear"]`.
std::string formatsOf(Case const& test, IPluginV3& plugin)
{
    auto const inputs = static_cast<int32_t>(test.inputs.size());
    auto const outputs = static_cast<int32_t>(test.outputs.size());
    std::string json = "[";
    for (auto const& [firstType, firstTypeName] : kTYPES)
    {
        for (auto const& [firstFormat, firstFormatName] : kFORMATS)
        {
            std::vector<DynamicPluginTensorDesc> all(static_cast<size_t>(inputs + outputs));
            all[0].desc = describe(test.inputs[0], firstType, firstFormat);
            if (!build(plugin)->supportsFormatCombination(0, all.data(), inputs, outputs))
            {
                continue;
            }
            json += (json.size() > 1 ? ", [\"" : "[\"") + std::string(firstTypeName) + " " + firstFormatName + "\"";
            for (int32_t pos = 1; pos < inputs + outputs; ++pos)
            {
                int accepted = 0;
                std::string name;
                DynamicPluginTensorDesc chosen{};
                for (auto const& [type, typeName] : kTYPES)
                {
                    for (auto const& [format, formatName] : kFORMATS)
                    {
                        all[static_cast<size_t>(pos)].desc = describe({1, 1, 1, 1}, type, format);
                        if (build(plugin)->supportsFormatCombination(pos, all.data(), inputs, outputs))
                        {
                            ++accepted;
                            name = std::string(typeName) + " " + formatName;
                            chosen = all[static_cast<size_t>(pos)];
                        }
                    }
                }
                CHECK(accepted == 1); // once the first tensor is chosen, nothing is left to choose
                all[static_cast<size_t>(pos)] = chosen;
                json += ", \"" + name + "\"";
            }
            json += "]";
            CHECK(build(plugin)->configurePlugin(all.data(), inputs, all.data() + inputs, outputs) == 0);
            int32_t const tactics = build(plugin)->getNbTactics();
            std::vector<int32_t> numbers(static_cast<size_t>(tactics));
            CHECK(tactics == 0 || build(plugin)->getValidTactics(numbers.data(), tactics) == 0);
            for (int32_t i = 0; i < tactics; ++i)
            {
                CHECK(numbers[static_cast<size_t>(i)] == i + 1);
                CHECK(runtime(plugin)->setTactic(i + 1) == 0);
            }
            CHECK((tactics > 1) == (build(plugin)->getTimingCacheID() != nullptr));
        }
    }
    std::vector<DynamicPluginTensorDesc> all(static_cast<size_t>(inputs + outputs));
    CHECK(!build(plugin)->supportsFormatCombination(0, all.data(), inputs + 3, outputs));
    CHECK(!build(plugin)->supportsFormatCombination(inputs + outputs, all.data(), inputs, outputs));
    return json + "]";
}

bool areEqual(PluginFieldCollection const& a, PluginFieldCollection const& b)
{
    bool equal = a.nbFields == b.nbFields;
    for (int32_t i = 0; equal && i < a.nbFields; ++i)
    {
        PluginField const& x = a.fields[i];
        PluginField const& y = b.fields[i];
        equal = std::strcmp(x.name, y.name) == 0 && x.type == y.type && x.length == y.length
                && std::memcmp(x.data, y.data, static_cast<size_t>(x.length) * 4) == 0;
    }
    return equal;
}

void checkSerialisation(Case const& test, IPluginV3& plugin)
{
    PluginFieldCollection const* const saved = runtime(plugin)->getFieldsToSerialize();
    CHECK(saved != nullptr);
    CHECK(saved->nbFields == gCreators.at(test.name)->getFieldNames()->nbFields);
    std::unique_ptr<IPluginV3> const again(
        gCreators.at(test.name)->createPlugin("again", saved, TensorRTPhase::kRUNTIME));
    CHECK(again != nullptr);
    CHECK(areEqual(*saved, *runtime(*again)->getFieldsToSerialize()));
    for (auto const& [name, values] : test.good.floats)
    {
        bool found = false;
        for (int32_t i = 0; i < saved->nbFields; ++i)
        {
            found = found
                    || (name == saved->fields[i].name
                        && std::memcmp(saved->fields[i].data, values.data(), values.size() * sizeof(float)) == 0);
        }
        CHECK(found);
    }

    std::unique_ptr<IPluginV3> copy(plugin.clone());
    CHECK(copy != nullptr);
    CHECK(core(*copy)->getPluginName() == test.name);
    CHECK(areEqual(*saved, *runtime(*copy)->getFieldsToSerialize()));
    CHECK(saved->fields != runtime(*copy)->getFieldsToSerialize()->fields);
    std::unique_ptr<IPluginV3> const attached(runtime(*copy)->attachToContext(nullptr));
    copy.reset(); // what it left in the context is whole without it
    CHECK(areEqual(*saved, *runtime(*attached)->getFieldsToSerialize()));
}

// One sentence, and no plugin.
void checkRefused(std::string const& name, std::function<void(FieldSet&)> const& spoil, Case const& test, int line)
{
    FieldSet bad = test.good;
    spoil(bad);
    gLogger.messages.clear();
    check(create(name, bad) == nullptr, "a bad field was accepted", line);
    check(gLogger.messages.size() == 1, "not one message", line);
    check(gLogger.messages[0].rfind("lzu::" + name + ": ", 0) == 0, "the message does not name the plugin", line);
    check(gLogger.messages[0].find('\n') == std::string::npos, "the message has several lines", line);
    gLogger.messages.clear();
}

#define REFUSED(name, spoil) checkRefused(name, [](FieldSet& set) { spoil; }, cases.at(name), __LINE__)

void checkRefusals(std::map<std::string, Case> const& cases)
{
    float const nan = std::nanf("");
    (void) nan;
    for (auto const& [name, test] : cases)
    {
        CHECK(gCreators.at(name)->createPlugin("x", nullptr, TensorRTPhase::kBUILD) == nullptr);
        PluginField const nameless(nullptr, &nan, PluginFieldType::kFLOAT32, 1);
        PluginField const empty("scale_y", nullptr, PluginFieldType::kFLOAT32, 3);
        for (PluginField const& field : {nameless, empty})
        {
            PluginFieldCollection const collection{1, &field};
            CHECK(gCreators.at(name)->createPlugin("x", &collection, TensorRTPhase::kBUILD) == nullptr);
        }
        checkRefused(name, [](FieldSet& set) { set.ints["colour"] = {1}; }, test, __LINE__);
    }
    REFUSED("SeparableUnzoom", set.floats.erase("scale_y"));
    REFUSED("SeparableUnzoom", set.floats["offset_x"] = {0.0F});
    REFUSED("SeparableUnzoom", set.floats["scale_x"][1] = -1.0F);
    REFUSED("SeparableUnzoom", set.floats["scale_x"][0] = std::nanf(""));
    REFUSED("SeparableUnzoom", set.floats["offset_y"][0] = INFINITY);
    REFUSED("SeparableUnzoom", set.ints["upscale"] = {0});
    REFUSED("SeparableUnzoom", set.ints["upscale"] = std::vector<int32_t>({1, 2}));
    REFUSED("SeparableUnzoom", set.ints.erase("upscale"); set.floats["upscale"] = {1.0F});
    REFUSED("SeparableUnzoom", for (auto& [n, v] : set.floats) v.assign(9, 0.5F));
    REFUSED("SeparableUnzoom", for (auto& [n, v] : set.floats) v.clear());
    REFUSED("SeparableUnzoom", set.floats.erase("scale_y"); set.ints["scale_y"] = std::vector<int32_t>({1, 1}));
    REFUSED("SeparableZoom", set.ints["canvas"] = std::vector<int32_t>({0, 5}));
    REFUSED("SeparableZoom", set.ints["canvas"] = std::vector<int32_t>({4}));
    REFUSED("SeparableZoom", set.ints["pad"] = std::vector<int32_t>({-1, 0}));
    REFUSED("SeparableZoom", set.ints.erase("pad"));
    REFUSED("SeparableZoom", set.ints.erase("pad"); set.longs["pad"] = std::vector<int64_t>({int64_t{1} << 40, 0}));
    REFUSED("BoxKnots", set.ints["lattice"] = std::vector<int32_t>({1, 5}));
    REFUSED("BoxKnots", set.ints["lattice"] = std::vector<int32_t>({31, 1000}));
    REFUSED("BoxKnots", set.ints["source"] = std::vector<int32_t>({0, 10}));
    REFUSED("BoxKnots", set.floats["fwhm"] = {0.0F});
    REFUSED("BoxKnots", set.floats["mix"] = {1.5F});
    REFUSED("BoxKnots", set.floats["mix"] = {-0.1F});
    REFUSED("BoxKnots", set.floats["min_side"] = {0.0F});
    REFUSED("BoxKnots", set.floats["fwhm"] = std::vector<float>({1.0F, 2.0F}));
    REFUSED("InvertWarp", set.ints["size"] = std::vector<int32_t>({0, 5}));
    REFUSED("InvertWarp", set.ints.erase("size"));
    REFUSED("InvertWarp", set.floats["outside"] = {std::nanf("")});

    // Wide numbers, which some parsers pass, are taken.
    Case wide = cases.at("BoxKnots");
    wide.good.longs["lattice"] = {5, 7};
    wide.good.ints.erase("lattice");
    wide.good.doubles["fwhm"] = {4.0};
    wide.good.floats.erase("fwhm");
    CHECK(create("BoxKnots", wide.good) != nullptr);
    CHECK(gLogger.messages.empty());
}

int64_t volume(Shape const& shape)
{
    int64_t product = 1;
    for (int64_t const side : shape)
    {
        product *= side;
    }
    return product;
}

// Runs a layer on the host. Identity knots everywhere: outputs are then known without mathematics.
std::vector<std::vector<float>> execute(Case const& test, std::vector<std::vector<float>> const& values)
{
    auto const plugin = create(test.name, test.good);
    auto const in = describeAll(test.inputs);
    auto const out = describeAll(test.outputs);
    std::vector<void const*> inputs;
    for (size_t i = 0; i < values.size(); ++i)
    {
        CHECK(static_cast<int64_t>(values[i].size()) == volume(test.inputs[i]));
        inputs.push_back(values[i].data());
    }
    std::vector<std::vector<float>> results;
    std::vector<void*> outputs;
    for (Shape const& shape : test.outputs)
    {
        results.emplace_back(static_cast<size_t>(volume(shape)), 77.0F);
    }
    for (auto& result : results)
    {
        outputs.push_back(result.data());
    }
    CHECK(runtime(*plugin)->enqueue(in.data(), out.data(), inputs.data(), outputs.data(), nullptr, nullptr) == 0);
    return results;
}

std::vector<float> ramp(int64_t count)
{
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i)
    {
        values[i] = static_cast<float>(i % 251);
    }
    return values;
}

std::vector<float> identityKnots(int64_t batch, int64_t count)
{
    std::vector<float> knots;
    for (int64_t i = 0; i < batch * count; ++i)
    {
        knots.push_back(2.0F * static_cast<float>(i % count) / static_cast<float>(count - 1) - 1.0F);
    }
    return knots;
}

void checkClose(std::vector<float> const& a, std::vector<float> const& b)
{
    CHECK(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i)
    {
        CHECK(std::fabs(a[i] - b[i]) < 1e-3F);
    }
}

void runOnHost(std::map<std::string, Case> const& cases)
{
    Case const& unzoom = cases.at("SeparableUnzoom");
    std::vector<std::vector<float>> inputs
        = {ramp(volume(unzoom.inputs[0])), ramp(volume(unzoom.inputs[1])), identityKnots(2, 7), identityKnots(2, 5)};
    Case sameSize = unzoom;
    sameSize.good.ints["upscale"] = {1};
    sameSize.outputs = {unzoom.inputs[0], unzoom.inputs[1]};
    auto const unzoomed = execute(sameSize, inputs);
    checkClose(unzoomed[0], inputs[0]);
    checkClose(unzoomed[1], inputs[1]);

    Case zoom = cases.at("SeparableZoom");
    zoom.good.ints["canvas"] = {6, 8}; // as large as the image
    zoom.good.ints["pad"] = {0, 0};
    zoom.outputs = {zoom.inputs[0]};
    auto const image = ramp(volume(zoom.inputs[0]));
    checkClose(execute(zoom, {image, identityKnots(1, 7), identityKnots(1, 5)})[0], image);

    Case const& boxes = cases.at("BoxKnots");
    auto const knots = execute(boxes, {ramp(2 * 3 * 4), std::vector<float>(6, 0.0F), {1.0F}, {64.0F},
                                          std::vector<float>(7, 1.0F / 7.0F), std::vector<float>(5, 0.2F)});
    checkClose(knots[0], identityKnots(2, 7));
    checkClose(knots[1], identityKnots(2, 5));

    Case const& invert = cases.at("InvertWarp");
    std::vector<float> plane;
    std::vector<float> expected;
    auto const addGrid = [](std::vector<float>& grid, int height, int width) {
        for (int y = 0; y < height; ++y)
        {
            for (int x = 0; x < width; ++x)
            {
                grid.push_back(2.0F * static_cast<float>(x) / static_cast<float>(width - 1) - 1.0F);
                grid.push_back(2.0F * static_cast<float>(y) / static_cast<float>(height - 1) - 1.0F);
            }
        }
    };
    for (int image = 0; image < 2; ++image)
    {
        addGrid(plane, 5, 7);
        addGrid(expected, 9, 11);
    }
    checkClose(execute(invert, {plane})[0], expected);
}

std::map<std::string, Case> makeCases()
{
    std::map<std::string, Case> cases;
    FieldSet set;
    set.floats = {{"scale_y", {0.4F, 1.0F}}, {"offset_y", {-1.0F, -1.0F}}, {"scale_x", {0.25F, 0.5F}},
        {"offset_x", {-1.0F, -1.0F}}};
    set.ints = {{"upscale", {2}}};
    cases["SeparableUnzoom"]
        = {"SeparableUnzoom", set, {{2, 5, 6, 9}, {2, 5, 3, 5}, {2, 7}, {2, 5}}, {{2, 5, 12, 18}, {2, 5, 6, 10}}, 2};
    set = {};
    set.ints = {{"canvas", {10, 14}}, {"pad", {2, 4}}};
    cases["SeparableZoom"] = {"SeparableZoom", set, {{2, 3, 6, 8}, {1, 7}, {1, 5}}, {{2, 3, 12, 18}}, 1};
    set = {};
    set.ints = {{"lattice", {5, 7}}, {"source", {600, 960}}};
    set.floats = {{"fwhm", {4.0F}}, {"mix", {0.5F}}, {"min_side", {1.0F}}};
    cases["BoxKnots"] = {"BoxKnots", set, {{2, 3, 4}, {2, 3}, {1}, {}, {7}, {5}}, {{2, 7}, {2, 5}}, 0};
    set = {};
    set.ints = {{"size", {9, 11}}};
    set.floats = {{"outside", {3.0F}}};
    cases["InvertWarp"] = {"InvertWarp", set, {{2, 5, 7, 2}}, {{2, 9, 11, 2}}, 0};
    return cases;
}

char const* nameOf(PluginFieldType type)
{
    return type == PluginFieldType::kFLOAT32 ? "float32" : type == PluginFieldType::kINT32 ? "int32" : "other";
}

} // namespace

int main(int argc, char** argv)
{
    CHECK(argc >= 2);
    void* const library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
    {
        std::fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    auto const getCreators
        = reinterpret_cast<IPluginCreatorInterface* const* (*)(int32_t&)>(dlsym(library, "getCreators"));
    auto const setLoggerFinder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"));
    CHECK(getCreators != nullptr);
    CHECK(setLoggerFinder != nullptr);
    Finder finder;
    setLoggerFinder(&finder);

    int32_t count = 0;
    IPluginCreatorInterface* const* const creators = getCreators(count);
    CHECK(count == 4);
    for (int32_t i = 0; i < count; ++i)
    {
        CHECK(std::strcmp(creators[i]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0);
        auto* const creator = static_cast<IPluginCreatorV3One*>(creators[i]);
        CHECK(std::strcmp(creator->getPluginNamespace(), "lzu") == 0);
        CHECK(std::strcmp(creator->getPluginVersion(), "1") == 0);
        gCreators[creator->getPluginName()] = creator;
    }
    CHECK(gCreators.size() == 4);

    auto const cases = makeCases();
    std::string json = "{";
    for (auto const& [name, test] : cases)
    {
        auto const plugin = create(name, test.good);
        CHECK(plugin != nullptr);
        CHECK(core(*plugin)->getPluginName() == name);
        CHECK(std::strcmp(core(*plugin)->getPluginNamespace(), "lzu") == 0);
        CHECK(std::strcmp(core(*plugin)->getPluginVersion(), "1") == 0);
        gLogger.messages.clear();
        checkShapesAndTypes(test, *plugin);
        CHECK(gLogger.messages.size() == 2); // the two wrong calls were told of
        gLogger.messages.clear();
        json += (json.size() > 1 ? ",\n\"" : "\"") + name + "\": {\"combinations\": " + formatsOf(test, *plugin)
                + ", \"attributes\": {";
        PluginFieldCollection const* const fields = gCreators.at(name)->getFieldNames();
        for (int32_t i = 0; i < fields->nbFields; ++i)
        {
            json += std::string(i > 0 ? ", \"" : "\"") + fields->fields[i].name + "\": \""
                    + nameOf(fields->fields[i].type) + "\"";
        }
        json += "}}";
        checkSerialisation(test, *plugin);
    }
    checkRefusals(cases);
    if (argc > 2 && std::strcmp(argv[2], "--run") == 0)
    {
        runOnHost(cases);
    }
    setLoggerFinder(nullptr);
    std::printf("%s}\n", json.c_str());
    return 0;
}
