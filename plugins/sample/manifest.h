// What the sample needs of a bundle's manifest.json.
#pragma once

#include "tensor.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace lzu::sample
{

// An engine's file in a bundle.
struct EngineFile
{
    std::string target;
    std::string precision;
    std::string path;
    std::vector<Tensor> inputs;
    std::vector<Tensor> outputs;
};

// Limits of the suppression, as the recipe has them.
struct Thresholds
{
    double score{};
    double iou{};
    int32_t maxDetections{};
};

// How the detections of a frame zoom the next one.
struct Feedback
{
    double score{};
    int32_t most{}; // boxes that are fed at most
};

struct Manifest
{
    std::string task;
    std::string input; // source: the engine zooms; zoomed: it takes the zoomed image
    std::string sampler;
    int32_t batch{};
    int32_t reduce{};
    std::array<float, 3> mean{};
    std::array<float, 3> std{};
    bool rgb{};
    std::vector<std::string> classes;
    std::vector<std::string> attributes; // det3d
    Thresholds thresholds;               // det, det3d
    Feedback feedback;                   // engines with the input prev_boxes
    std::vector<EngineFile> engines;
};

// Reads BUNDLE/manifest.json; throws Error if it is no manifest or of a task that the sample does not know.
Manifest readManifest(std::string const& bundle);

// The engine of a target in a precision, or in the highest if that is empty; throws Error if there is none.
EngineFile const& findEngine(Manifest const& manifest, std::string const& target, std::string const& precision);

} // namespace lzu::sample
