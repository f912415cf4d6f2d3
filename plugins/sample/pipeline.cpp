#include "pipeline.h"

#include <algorithm>
#include <array>

namespace lzu::sample
{

namespace
{

constexpr std::array<char const*, 9> kINPUTS{
    "frame", "image", "prev_boxes", "prev_valid", "knots_x", "knots_y", "knots", "cam2img", "img2cam"};

std::string text(Size const& size)
{
    return std::to_string(size.y) + "x" + std::to_string(size.x);
}

} // namespace

std::unique_ptr<Task> makeTask(Manifest const& manifest, Warp const& warp, Session& session, TaskOptions const& options)
{
    if (manifest.task == "det3d" && options.cameras.empty())
    {
        throw Error("boxes in space need the camera; give --cameras FILE, its calibration");
    }
    if (manifest.task != "det3d" && !options.cameras.empty())
    {
        throw Error("task " + manifest.task + " needs no camera; leave --cameras out");
    }
    if (manifest.task != "seg" && !options.labels.empty())
    {
        throw Error("task " + manifest.task + " has no label maps; leave --labels out");
    }
    if (manifest.task == "det")
    {
        return makeDetection(manifest, warp, session);
    }
    return manifest.task == "seg" ? makeSegmentation(manifest, warp, session, options.labels)
                                  : makeSpaceDetection(manifest, warp, session, options.cameras);
}

Pipeline::Pipeline(Manifest const& manifest, Warp const& warp, Session& session, TaskOptions const& options)
    : mManifest(manifest)
    , mWarp(warp)
    , mSession(session)
    , mFollowsBoxes(session.input("prev_boxes") != nullptr)
{
    for (Bound const& each : session.inputs())
    {
        std::string const& name = each.tensor.name;
        if (std::none_of(kINPUTS.begin(), kINPUTS.end(), [&](char const* known) { return name == known; }))
        {
            throw Error("the engine has an input " + name + ", which this sample does not know; build it again");
        }
        if (each.tensor.shape.empty() || each.tensor.shape.front() != manifest.batch)
        {
            throw Error("input " + name + " of the engine does not have the manifest's batch; take an engine of this "
                + "bundle");
        }
    }
    mTask = makeTask(manifest, warp, session, options);
    if (manifest.input == "zoomed")
    {
        mZoom = std::make_unique<Zoom>(manifest, warp, session);
    }
    setKnots();
}

void Pipeline::setKnots()
{
    for (char const* const name : {"knots_x", "knots_y", "knots"})
    {
        Bound const* const input = mSession.input(name);
        if (input == nullptr)
        {
            continue;
        }
        auto const found = mWarp.arrays.find(name);
        std::vector<float> const one = found == mWarp.arrays.end() ? std::vector<float>() : found->second.floats();
        if (one.size() * static_cast<std::size_t>(mManifest.batch) != input->tensor.count())
        {
            throw Error(std::string("warp.safetensors has no ") + name + " for the engine; export the bundle again");
        }
        std::vector<float> all;
        for (int32_t i = 0; i < mManifest.batch; ++i)
        {
            all.insert(all.end(), one.begin(), one.end());
        }
        mSession.upload(input->memory.get(), all.data(), all.size() * sizeof(float));
    }
}

Frame Pipeline::read(std::string const& path) const
{
    Frame frame = readFrame(path);
    if (!(frame.size == mWarp.source))
    {
        throw Error(path + " is " + text(frame.size) + ", and the bundle takes frames of " + text(mWarp.source)
            + "; resize it");
    }
    return frame;
}

void Pipeline::load(Frame const& frame, int32_t number)
{
    if (mZoom != nullptr)
    {
        mZoom->enqueue(frame.pixels.data(), number);
    }
    else
    {
        Bound const& input = mSession.requireInput(
            "frame", "uint8", {mManifest.batch, mWarp.source.y, mWarp.source.x, 3});
        auto* const there = static_cast<uint8_t*>(input.memory.get());
        mSession.upload(there + static_cast<std::size_t>(number) * frame.pixels.size(), frame.pixels.data(),
            frame.pixels.size());
    }
    mTask->prepare(frame, number);
}

nlohmann::ordered_json Pipeline::run(std::vector<std::string> const& paths)
{
    if (mFollowsBoxes && mManifest.batch > 1)
    {
        throw Error("an adaptive bundle of batch " + std::to_string(mManifest.batch)
            + " runs as many sequences, and the frames are one; export it with batch 1");
    }
    nlohmann::ordered_json results = nlohmann::ordered_json::array();
    auto const batch = static_cast<std::size_t>(mManifest.batch);
    for (std::size_t first = 0; first < paths.size(); first += batch)
    {
        std::size_t const count = std::min(batch, paths.size() - first);
        std::vector<Frame> frames;
        for (std::size_t i = 0; i < batch; ++i)
        {
            frames.push_back(i < count ? read(paths[first + i]) : frames.back());
            load(frames.back(), static_cast<int32_t>(i));
        }
        mSession.run();
        mTask->enqueue();
        for (std::size_t i = 0; i < count; ++i)
        {
            mTask->present(frames[i], static_cast<int32_t>(i), static_cast<int32_t>(first + i + 1), results);
        }
    }
    return results;
}

} // namespace lzu::sample
