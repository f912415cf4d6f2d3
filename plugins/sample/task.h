// What a task adds to an engine's run: inputs besides the image, steps behind the engine, and results as JSON.
#pragma once

#include "frame.h"
#include "manifest.h"
#include "session.h"
#include "warp.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <string>

namespace lzu::sample
{

// What the command line asks of tasks.
struct TaskOptions
{
    std::string cameras; // file, for det3d
    std::string labels;  // folder for label maps, for seg; empty for none
};

class Task
{
public:
    Task() = default;
    Task(Task const&) = delete;
    Task& operator=(Task const&) = delete;
    virtual ~Task() = default;

    // Fills the task's own inputs of image `number` of the batch.
    virtual void prepare(Frame const& /*frame*/, int32_t /*number*/) {}

    // Enqueues the steps behind the engine, for the whole batch.
    virtual void enqueue() {}

    // Appends the results of image `number` of the batch to those of the run, as `lzu-export run` writes them.
    virtual void present(Frame const& frame, int32_t number, int32_t imageId, nlohmann::ordered_json& results) = 0;
};

std::unique_ptr<Task> makeDetection(Manifest const& manifest, Warp const& warp, Session& session);
std::unique_ptr<Task> makeSegmentation(
    Manifest const& manifest, Warp const& warp, Session& session, std::string const& folder);
std::unique_ptr<Task> makeSpaceDetection(
    Manifest const& manifest, Warp const& warp, Session& session, std::string const& cameras);

// The task of a bundle; throws Error if the options do not fit it.
std::unique_ptr<Task> makeTask(
    Manifest const& manifest, Warp const& warp, Session& session, TaskOptions const& options);

} // namespace lzu::sample
