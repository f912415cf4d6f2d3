#include "manifest.h"

#include "files.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace lzu::sample
{

namespace
{

using Json = nlohmann::json;

std::vector<Tensor> tensors(Json const& entries)
{
    std::vector<Tensor> found;
    for (Json const& each : entries)
    {
        found.push_back({each.at("name"), each.at("dtype"), each.at("shape").get<std::vector<int64_t>>()});
    }
    return found;
}

// The path of a file that the manifest names, which is in the bundle's folder itself.
std::string pathOf(std::string const& bundle, std::string const& file)
{
    if (file.empty() || file.front() == '.' || file.find('/') != std::string::npos)
    {
        throw Error("the manifest names a file " + file + " outside of the bundle; export the bundle again");
    }
    return bundle + "/" + file;
}

// A value that may be null or absent.
template <typename T>
T orElse(Json const& section, char const* key, T otherwise)
{
    auto const found = section.find(key);
    return found == section.end() || found->is_null() ? otherwise : found->get<T>();
}

void readRecipe(Json const& recipe, Manifest& manifest)
{
    Json const& norm = recipe.at("normalisation");
    manifest.input = recipe.at("input");
    manifest.sampler = recipe.at("sampler");
    manifest.batch = recipe.at("batch");
    manifest.reduce = recipe.at("reduce");
    manifest.mean = norm.at("mean").get<std::array<float, 3>>();
    manifest.std = norm.at("std").get<std::array<float, 3>>();
    manifest.rgb = norm.at("order") == "rgb";
    manifest.classes = recipe.at("classes").get<std::vector<std::string>>();
    manifest.attributes = orElse<std::vector<std::string>>(recipe, "attributes", {});
    if (manifest.task != "seg")
    {
        Json const& limits = recipe.at("postprocess");
        manifest.thresholds = {limits.at("score_threshold"), limits.at("iou_threshold"), limits.at("max_detections")};
    }
    Json const& warp = recipe.at("warp");
    if (warp.contains("feedback"))
    {
        int32_t const boxes = warp.at("boxes");
        Json const& feedback = warp.at("feedback");
        manifest.feedback = {feedback.at("score_threshold"), std::min(boxes, orElse(feedback, "most", boxes))};
    }
}

} // namespace

Manifest readManifest(std::string const& bundle)
{
    std::string const path = bundle + "/manifest.json";
    std::vector<char> const text = readFile(path);
    Manifest manifest;
    try
    {
        Json const data = Json::parse(text.begin(), text.end());
        manifest.task = data.at("task");
        if (manifest.task != "det" && manifest.task != "seg" && manifest.task != "det3d")
        {
            throw Error(path + " has task " + manifest.task
                + "; this sample knows det, seg and det3d, and docs/outputs.md has the steps of all tasks");
        }
        for (Json const& each : data.at("engines"))
        {
            manifest.engines.push_back({each.at("target"), each.at("precision"),
                pathOf(bundle, each.at("file")), tensors(each.at("inputs")), tensors(each.at("outputs"))});
        }
        readRecipe(data.at("recipe"), manifest);
    }
    catch (Json::exception const& error)
    {
        throw Error(path + " is not a bundle's manifest (" + error.what() + "); export the bundle again");
    }
    return manifest;
}

EngineFile const& findEngine(Manifest const& manifest, std::string const& target, std::string const& precision)
{
    std::string there;
    for (std::string const wanted : {"fp32", "bf16", "fp16", "int8"})
    {
        for (EngineFile const& each : manifest.engines)
        {
            if (each.target == target && each.precision == wanted)
            {
                if (precision.empty() || precision == wanted)
                {
                    return each;
                }
                there += (there.empty() ? "" : ", ") + wanted;
            }
        }
    }
    if (there.empty())
    {
        throw Error("the bundle has no engine of target " + target + "; build one, or name a file by --engine");
    }
    throw Error("the bundle has no engine of target " + target + " in " + precision + "; it has " + there);
}

} // namespace lzu::sample
