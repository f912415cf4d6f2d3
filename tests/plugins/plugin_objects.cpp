// Creates every plugin through the library's two entry points, on a machine without TensorRT, and checks what a builder
// and a runtime would ask of it. Prints, as JSON, what a contract can be compared with.
//
//   plugin_objects LIBRARY [--run]     --run: a library whose kernels run on the host; layers are executed, too
#include "field_checks.h"
#include "host_runs.h"

#include <dlfcn.h>

using namespace objects;

namespace
{

std::map<DataType, char const*> const kTYPES = {{DataType::kFLOAT, "float32"}, {DataType::kHALF, "float16"},
    {DataType::kINT8, "int8"}, {DataType::kINT32, "int32"}, {DataType::kBOOL, "bool"}, {DataType::kUINT8, "uint8"},
    {DataType::kFP8, "float8"}, {DataType::kBF16, "bfloat16"}, {DataType::kINT64, "int64"}};

std::map<TensorFormat, char const*> const kFORMATS = {{TensorFormat::kLINEAR, "linear"}, {TensorFormat::kCHW2, "chw2"},
    {TensorFormat::kHWC8, "hwc8"}, {TensorFormat::kCHW4, "chw4"}, {TensorFormat::kCHW16, "chw16"},
    {TensorFormat::kCHW32, "chw32"}, {TensorFormat::kDHWC8, "dhwc8"}, {TensorFormat::kCDHW32, "cdhw32"},
    {TensorFormat::kHWC, "hwc"}, {TensorFormat::kDLA_LINEAR, "dla_linear"}, {TensorFormat::kDLA_HWC4, "dla_hwc4"},
    {TensorFormat::kHWC16, "hwc16"}, {TensorFormat::kDHWC, "dhwc"}};

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

// Asks for the output shapes of an input of this shape, as a builder does while it parses.
int32_t shapesWith(IPluginV3& plugin, Case const& test, size_t input, std::vector<int64_t> const& shape, bool constant)
{
    std::vector<DimsExprs> in(test.inputs.size());
    for (size_t i = 0; i < in.size(); ++i)
    {
        auto const& sizes = i == input ? shape : test.inputs[i];
        in[i].nbDims = static_cast<int32_t>(sizes.size());
        for (size_t axis = 0; axis < sizes.size(); ++axis)
        {
            in[i].d[axis] = sizeOf(sizes[axis], constant);
        }
    }
    std::vector<DimsExprs> out(test.outputs.size());
    Builder builder;
    return build(plugin)->getOutputShapes(in.data(), static_cast<int32_t>(in.size()), nullptr, 0, out.data(),
        static_cast<int32_t>(out.size()), builder);
}

// What a kernel does not take is refused when the network is made, with one sentence, and not when an engine runs. Of
// shapes that are not known yet nothing is said.
void checkShapeLimits(std::map<std::string, Case> const& cases)
{
    struct Limit
    {
        char const* plugin;
        size_t input;
        std::vector<int64_t> good;
        std::vector<int64_t> bad;
        char const* words;
    };
    std::vector<Limit> const limits
        = {{"InvertWarp", 0, {2, 257, 257, 2}, {2, 257, 258, 2}, "more tiles between them than the kernel takes"},
            {"InvertWarp", 0, {2, 1025, 3, 2}, {2, 1026, 3, 2}, "65536 in 1024 rows"},
            {"InvertWarp", 0, {2, 2, 65537, 2}, {2, 2, 65538, 2}, "more tiles"},
            {"InvertWarp", 0, {2, 2, 2, 2}, {2, 3037000502, 3037000502, 2}, "more tiles"},
            {"InvertWarp", 0, {2, 2, 2, 2}, {2, 1, 5, 2}, "2 x 2 knots at least"},
            {"SeparableUnzoom", 2, {2, 2}, {3, 7}, "batch x count"},
            {"SeparableZoom", 1, {1, 2}, {1, 1}, "batch x count"},
            {"BoxKnots", 4, {7}, {8}, "as many values as the lattice"}};
    for (Limit const& each : limits)
    {
        Case const& test = cases.at(each.plugin);
        auto const plugin = create(each.plugin, test.good);
        gLogger.messages.clear();
        CHECK(shapesWith(*plugin, test, each.input, each.good, true) == 0);
        CHECK(shapesWith(*plugin, test, each.input, each.bad, false) == 0);
        CHECK(gLogger.messages.empty());
        CHECK(shapesWith(*plugin, test, each.input, each.bad, true) != 0);
        CHECK(gLogger.messages.size() == 1);
        CHECK(gLogger.messages[0].find(each.words) != std::string::npos);
        gLogger.messages.clear();
    }
    // Two inputs have as many boxes.
    Case boxes = cases.at("BoxKnots");
    boxes.inputs[1] = {2, 1025};
    auto const plugin = create("BoxKnots", boxes.good);
    CHECK(shapesWith(*plugin, boxes, 0, {2, 1025, 4}, true) != 0);
    CHECK(gLogger.messages.size() == 1);
    CHECK(gLogger.messages[0].find("at most 1024 boxes") != std::string::npos);
    gLogger.messages.clear();
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
    checkShapeLimits(cases);
    if (argc > 2 && std::strcmp(argv[2], "--run") == 0)
    {
        runOnHost(cases);
    }
    setLoggerFinder(nullptr);
    std::printf("%s}\n", json.c_str());
    return 0;
}
