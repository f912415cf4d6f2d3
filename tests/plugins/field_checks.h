// Checks of a plugin's fields: a good set is saved and read again, a bad one is refused in a sentence.
#pragma once

#include "plugin_cases.h"

#include <cmath>
#include <cstring>
#include <functional>

namespace objects
{

using namespace nvinfer1;

inline bool areEqual(PluginFieldCollection const& a, PluginFieldCollection const& b)
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

inline void checkSerialisation(Case const& test, IPluginV3& plugin)
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
inline void checkRefused(
    std::string const& name, std::function<void(FieldSet&)> const& spoil, Case const& test, int line)
{
    FieldSet bad = test.good;
    spoil(bad);
    gLogger.messages.clear();
    check(create(name, bad) == nullptr, "a bad field was accepted", __FILE__, line);
    check(gLogger.messages.size() == 1, "not one message", __FILE__, line);
    check(gLogger.messages[0].rfind("lzu::" + name + ": ", 0) == 0, "the message does not name the plugin", __FILE__,
        line);
    check(gLogger.messages[0].find('\n') == std::string::npos, "the message has several lines", __FILE__, line);
    gLogger.messages.clear();
}

#define REFUSED(name, spoil) checkRefused(name, [](FieldSet& set) { spoil; }, cases.at(name), __LINE__)

inline void checkRefusals(std::map<std::string, Case> const& cases)
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

} // namespace objects
