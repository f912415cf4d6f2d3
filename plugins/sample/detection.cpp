// Task det: suppression and feedback of boxes by the kernels, behind the engine on its stream.
#include "launch.h"
#include "task.h"

#include <lzu_kernels.h>

#include <algorithm>

namespace lzu::sample
{

namespace
{

class Detection final : public Task
{
public:
    Detection(Manifest const& manifest, Warp const& warp, Session& session)
        : mManifest(manifest)
        , mWarp(warp)
        , mSession(session)
        , mBoxes(session.requireOutput("boxes", "float32", {manifest.batch, kANY, 4}))
        , mScores(session.requireOutput("scores", "float32", {manifest.batch, mBoxes.tensor.shape[1]}))
        , mLabels(session.requireOutput("labels", "int32", mScores.tensor.shape))
        , mCandidates(static_cast<int32_t>(mScores.tensor.shape[1]))
        , mMost(std::min(manifest.thresholds.maxDetections, mCandidates))
    {
        if (session.input("prev_boxes") != nullptr)
        {
            mPrevBoxes = &session.requireInput("prev_boxes", "float32", {manifest.batch, kANY, 4});
            mPrevValid = &session.requireInput("prev_valid", "float32", {manifest.batch, mPrevBoxes->tensor.shape[1]});
        }
        if (mCandidates > LZU_MOST_CANDIDATES)
        {
            throw Error("the engine has " + std::to_string(mCandidates) + " candidates and lzu_suppress takes "
                + std::to_string(LZU_MOST_CANDIDATES) + "; export with a smaller postprocess.candidates_per_level");
        }
        auto const batch = static_cast<std::size_t>(manifest.batch);
        auto const kept = batch * static_cast<std::size_t>(mMost);
        mWorkspace = session.allocate(lzu_suppress_workspace(manifest.batch, mCandidates));
        mKeptBoxes = session.allocate(kept * 4 * sizeof(float));
        mKeptScores = session.allocate(kept * sizeof(float));
        mKeptLabels = session.allocate(kept * sizeof(int32_t));
        mKeptCount = session.allocate(batch * sizeof(int32_t));
    }

    void enqueue() override
    {
        suppress();
        if (mPrevBoxes != nullptr)
        {
            feed();
        }
    }

    void present(Frame const& /*frame*/, int32_t number, int32_t imageId, nlohmann::ordered_json& results) override
    {
        auto const index = static_cast<std::size_t>(number);
        auto const most = static_cast<std::size_t>(mMost);
        int32_t count = 0;
        mSession.download(&count, static_cast<int32_t*>(mKeptCount.get()) + index, sizeof(count));
        auto const boxes = read<float>(mKeptBoxes, index * most * 4, count * 4);
        auto const scores = read<float>(mKeptScores, index * most, count);
        auto const labels = read<int32_t>(mKeptLabels, index * most, count);
        for (std::size_t i = 0; i < scores.size(); ++i)
        {
            float const x1 = clip(boxes[4 * i], left(), right());
            float const y1 = clip(boxes[4 * i + 1], top(), bottom());
            float const x2 = clip(boxes[4 * i + 2], left(), right());
            float const y2 = clip(boxes[4 * i + 3], top(), bottom());
            results.push_back({{"image_id", imageId}, {"category_id", labels[i] + 1},
                {"bbox", {x1, y1, x2 - x1, y2 - y1}}, {"score", scores[i]}});
        }
    }

private:
    void suppress()
    {
        LzuSuppress call{};
        call.boxes = static_cast<float const*>(mBoxes.memory.get());
        call.scores = static_cast<float const*>(mScores.memory.get());
        call.labels = mLabels.memory.get();
        call.label_bytes = static_cast<int32_t>(mLabels.tensor.itemSize());
        call.batch = mManifest.batch;
        call.candidates = mCandidates;
        call.max_detections = mMost;
        call.score_threshold = static_cast<float>(mManifest.thresholds.score);
        call.iou_threshold = static_cast<float>(mManifest.thresholds.iou);
        call.workspace = mWorkspace.get();
        call.kept_boxes = static_cast<float*>(mKeptBoxes.get());
        call.kept_scores = static_cast<float*>(mKeptScores.get());
        call.kept_labels = static_cast<int32_t*>(mKeptLabels.get());
        call.kept_count = static_cast<int32_t*>(mKeptCount.get());
        launched(lzu_suppress(&call, mSession.stream()), "lzu_suppress");
    }

    // Writes the next run's inputs, which so never leave the device.
    void feed()
    {
        LzuFeedBoxes call{};
        call.boxes = static_cast<float const*>(mKeptBoxes.get());
        call.scores = static_cast<float const*>(mKeptScores.get());
        call.count = static_cast<int32_t const*>(mKeptCount.get());
        call.batch = mManifest.batch;
        call.detections = mMost;
        call.box_count = static_cast<int32_t>(mPrevBoxes->tensor.shape[1]);
        call.most = mManifest.feedback.most;
        call.score_threshold = static_cast<float>(mManifest.feedback.score);
        call.left = left();
        call.top = top();
        call.right = right();
        call.bottom = bottom();
        call.prev_boxes = static_cast<float*>(mPrevBoxes->memory.get());
        call.prev_valid = static_cast<float*>(mPrevValid->memory.get());
        launched(lzu_feed_boxes(&call, mSession.stream()), "lzu_feed_boxes");
    }

    template <typename T>
    std::vector<T> read(Memory const& memory, std::size_t first, int32_t count)
    {
        std::vector<T> values(static_cast<std::size_t>(count));
        mSession.download(values.data(), static_cast<T const*>(memory.get()) + first, values.size() * sizeof(T));
        return values;
    }

    static float clip(float value, float lowest, float highest)
    {
        return std::min(std::max(value, lowest), highest);
    }

    // The view's edges in pixels of the source.
    float left() const
    {
        return static_cast<float>(mWarp.corner.x);
    }

    float top() const
    {
        return static_cast<float>(mWarp.corner.y);
    }

    float right() const
    {
        return static_cast<float>(mWarp.corner.x + mWarp.view.x);
    }

    float bottom() const
    {
        return static_cast<float>(mWarp.corner.y + mWarp.view.y);
    }

    Manifest const& mManifest;
    Warp const& mWarp;
    Session& mSession;
    Bound const& mBoxes;
    Bound const& mScores;
    Bound const& mLabels;
    Bound const* mPrevBoxes = nullptr; // of engines that follow boxes
    Bound const* mPrevValid = nullptr;
    int32_t mCandidates;
    int32_t mMost; // detections of an image
    Memory mWorkspace;
    Memory mKeptBoxes;
    Memory mKeptScores;
    Memory mKeptLabels;
    Memory mKeptCount;
};

} // namespace

std::unique_ptr<Task> makeDetection(Manifest const& manifest, Warp const& warp, Session& session)
{
    return std::make_unique<Detection>(manifest, warp, session);
}

} // namespace lzu::sample
