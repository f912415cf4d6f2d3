// Task det3d: camera matrices before the engine, suppression in space behind it, on the host.
#include "camera.h"
#include "rectangles.h"
#include "task.h"

namespace lzu::sample
{

namespace
{

class SpaceDetection final : public Task
{
public:
    SpaceDetection(Manifest const& manifest, Warp const& warp, Session& session, std::string const& cameras)
        : mManifest(manifest)
        , mWarp(warp)
        , mSession(session)
        , mCameras(cameras)
        , mCam2img(session.requireInput("cam2img", "float32", {manifest.batch, 4, 4}))
        , mImg2cam(session.requireInput("img2cam", "float32", {manifest.batch, 4, 4}))
        , mBoxes(session.requireOutput("boxes", "float32", {manifest.batch, kANY, kBOX}))
        , mScores(session.requireOutput("scores", "float32", {manifest.batch, mBoxes.tensor.shape[1], kANY}))
        , mAttributes(session.requireOutput("attributes", "int32", {manifest.batch, mBoxes.tensor.shape[1]}))
    {
    }

    void prepare(Frame const& frame, int32_t number) override
    {
        CameraInputs const inputs = cameraInputs(mCameras.of(frame.path), mWarp);
        upload(mCam2img, inputs.cam2img, number);
        upload(mImg2cam, inputs.img2cam, number);
    }

    void enqueue() override
    {
        mIsRead = false;
    }

    void present(Frame const& /*frame*/, int32_t number, int32_t imageId, nlohmann::ordered_json& results) override
    {
        if (!mIsRead)
        {
            mBoxValues = mSession.values<float>(mBoxes);
            mScoreValues = mSession.values<float>(mScores);
            mAttributeValues = mSession.values<int32_t>(mAttributes);
            mIsRead = true;
        }
        auto const candidates = static_cast<std::size_t>(mScores.tensor.shape[1]);
        auto const classes = static_cast<std::size_t>(mScores.tensor.shape[2]);
        std::size_t const first = static_cast<std::size_t>(number) * candidates;
        auto const values = static_cast<std::size_t>(kBOX);
        float const* const boxes = mBoxValues.data() + first * values;
        float const* const scores = mScoreValues.data() + first * classes;
        for (Kept const& each : suppressInSpace(boxes, scores, candidates, classes, mManifest.thresholds))
        {
            int32_t const attribute = mAttributeValues[first + each.candidate];
            nlohmann::ordered_json entry{{"image_id", imageId}, {"category_id", each.label + 1},
                {"score", scores[each.candidate * classes + each.label]}};
            if (mManifest.attributes.empty())
            {
                entry["attribute"] = attribute;
            }
            else
            {
                entry["attribute"] = mManifest.attributes.at(static_cast<std::size_t>(attribute));
            }
            entry["box"] = named(boxes + each.candidate * values);
            results.push_back(entry);
        }
    }

private:
    void upload(Bound const& input, std::array<float, 16> const& matrix, int32_t number)
    {
        float* const there = static_cast<float*>(input.memory.get()) + 16 * static_cast<std::size_t>(number);
        mSession.upload(there, matrix.data(), sizeof(matrix));
    }

    static nlohmann::ordered_json named(float const* box)
    {
        return {{"centre", {box[0], box[1], box[2]}},
            {"size", {{"length", box[3]}, {"height", box[4]}, {"width", box[5]}}}, {"yaw", box[6]},
            {"velocity", {box[7], box[8]}}};
    }

    Manifest const& mManifest;
    Warp const& mWarp;
    Session& mSession;
    Cameras mCameras;
    Bound const& mCam2img;
    Bound const& mImg2cam;
    Bound const& mBoxes;
    Bound const& mScores;
    Bound const& mAttributes;
    bool mIsRead = false; // whether the values below are those of the last run
    std::vector<float> mBoxValues;
    std::vector<float> mScoreValues;
    std::vector<int32_t> mAttributeValues;
};

} // namespace

std::unique_ptr<Task> makeSpaceDetection(
    Manifest const& manifest, Warp const& warp, Session& session, std::string const& cameras)
{
    return std::make_unique<SpaceDetection>(manifest, warp, session, cameras);
}

} // namespace lzu::sample
