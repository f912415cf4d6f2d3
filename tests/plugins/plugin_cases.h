// A layer of each plugin with its fields and shapes, and how a test makes it and asks it.
#pragma once

#include "tensorrt_stand_ins.h"

#include <algorithm>
#include <map>

namespace objects
{

using namespace nvinfer1;

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

inline std::map<std::string, IPluginCreatorV3One*> gCreators;

inline std::unique_ptr<IPluginV3> create(
    std::string const& name, FieldSet const& set, TensorRTPhase phase = TensorRTPhase::kBUILD)
{
    auto const fields = set.fields();
    PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
    return std::unique_ptr<IPluginV3>(gCreators.at(name)->createPlugin("layer", &collection, phase));
}

template <class Capability>
Capability* as(IPluginV3& plugin, PluginCapabilityType type)
{
    auto* const found = static_cast<Capability*>(plugin.getCapabilityInterface(type));
    CHECK(found != nullptr);
    return found;
}

inline IPluginV3OneCore* core(IPluginV3& plugin)
{
    return as<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE);
}

inline IPluginV3OneBuild* build(IPluginV3& plugin)
{
    return as<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
}

inline IPluginV3OneRuntime* runtime(IPluginV3& plugin)
{
    return as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

inline Dims dimsOf(Shape const& shape)
{
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), dims.d);
    return dims;
}

inline PluginTensorDesc describe(
    Shape const& shape, DataType type = DataType::kFLOAT, TensorFormat format = TensorFormat::kLINEAR)
{
    PluginTensorDesc desc{};
    desc.dims = dimsOf(shape);
    desc.type = type;
    desc.format = format;
    desc.scale = 1.0F;
    return desc;
}

inline std::vector<PluginTensorDesc> describeAll(std::vector<Shape> const& shapes)
{
    std::vector<PluginTensorDesc> all;
    for (Shape const& shape : shapes)
    {
        all.push_back(describe(shape));
    }
    return all;
}

inline std::map<std::string, Case> makeCases()
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

} // namespace objects
