// From frames to results: image, engine, task.
#pragma once

#include "task.h"
#include "zoom.h"

#include <memory>
#include <string>
#include <vector>

namespace lzu::sample
{

class Pipeline
{
public:
    // Throws Error if the engine has an input that is not of docs/outputs.md, or the options do not fit the task.
    Pipeline(Manifest const& manifest, Warp const& warp, Session& session, TaskOptions const& options);

    // Runs image files in their order and returns what `lzu-export run` writes into results.json. A batch that they do
    // not fill is filled with the last one.
    nlohmann::ordered_json run(std::vector<std::string> const& paths);

private:
    void setKnots();
    Frame read(std::string const& path) const;
    void load(Frame const& frame, int32_t number);

    Manifest const& mManifest;
    Warp const& mWarp;
    Session& mSession;
    std::unique_ptr<Task> mTask;
    std::unique_ptr<Zoom> mZoom; // if the engine takes the zoomed image
    bool mFollowsBoxes = false;
};

} // namespace lzu::sample
