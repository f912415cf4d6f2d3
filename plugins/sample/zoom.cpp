#include "zoom.h"

#include "launch.h"

#include <lzu_kernels.h>

#include <algorithm>
#include <cstddef>

namespace lzu::sample
{

namespace
{

std::size_t frameBytes(Warp const& warp)
{
    return std::size_t{3} * static_cast<std::size_t>(warp.source.y) * static_cast<std::size_t>(warp.source.x);
}

// A resample table of 4 rows: floors, fractions, supports, gains.
std::vector<float> tableOf(Warp const& warp, std::string const& name, int32_t cells)
{
    std::vector<float> const values = warp.arrays.at(name).floats();
    if (values.size() != std::size_t{4} * static_cast<std::size_t>(cells))
    {
        throw Error("array " + name + " of warp.safetensors does not fit the canvas; export the bundle again");
    }
    return values;
}

bool isBilinear(std::vector<float> const& table)
{
    auto const half = static_cast<std::ptrdiff_t>(table.size() / 2);
    return std::all_of(table.begin() + half, table.end(), [](float each) { return each == 1.0F; });
}

Memory onDevice(std::vector<float> const& values, Session& session)
{
    Memory memory = session.allocate(values.size() * sizeof(float));
    session.upload(memory.get(), values.data(), values.size() * sizeof(float));
    return memory;
}

} // namespace

Zoom::Zoom(Manifest const& manifest, Warp const& warp, Session& session)
    : mManifest(manifest)
    , mWarp(warp)
    , mSession(session)
    , mImage(session.requireInput(
          "image", "float32", {manifest.batch, 3, warp.networkInput.y, warp.networkInput.x}))
{
    if (manifest.sampler == "opencv")
    {
        throw Error("the recipe's sampler is opencv, which lzu_zoom_camera does not follow; export with input: source");
    }
    auto const isSeen = [&](int32_t picture, int32_t view) { return int64_t{picture - 1} * manifest.reduce < view; };
    if (manifest.reduce < 1 || !isSeen(warp.picture.y, warp.view.y) || !isSeen(warp.picture.x, warp.view.x))
    {
        throw Error("the recipe's reduce does not fit the sizes of warp.safetensors; export the bundle again");
    }
    if (!warp.has("zoom_rows") || !warp.has("zoom_cols"))
    {
        throw Error("the warp is not separable, and lzu_zoom_camera takes separable ones; export with input: source");
    }
    std::vector<float> const rows = tableOf(warp, "zoom_rows", warp.canvas.y);
    std::vector<float> const cols = tableOf(warp, "zoom_cols", warp.canvas.x);
    mBilinear = isBilinear(rows) && isBilinear(cols);
    mRows = onDevice(rows, session);
    mCols = onDevice(cols, session);
    mFrames = session.allocate(frameBytes(warp) * static_cast<std::size_t>(manifest.batch));
}

void Zoom::enqueue(uint8_t const* frame, int32_t number)
{
    auto const index = static_cast<std::size_t>(number);
    uint8_t* const there = static_cast<uint8_t*>(mFrames.get()) + index * frameBytes(mWarp);
    mSession.upload(there, frame, frameBytes(mWarp));
    LzuCamera call{};
    call.pitch = 3 * mWarp.source.x;
    call.pixels = there + mWarp.corner.y * call.pitch + 3 * mWarp.corner.x;
    call.pixel_format = LZU_BGR;
    call.reduce = mManifest.reduce;
    call.height = mWarp.picture.y;
    call.width = mWarp.picture.x;
    call.canvas_height = mWarp.canvas.y;
    call.canvas_width = mWarp.canvas.x;
    call.pad_y = mWarp.networkInput.y - mWarp.canvas.y;
    call.pad_x = mWarp.networkInput.x - mWarp.canvas.x;
    call.bilinear = mBilinear ? 1 : 0; // quicker
    call.table_x = static_cast<float const*>(mCols.get());
    call.table_y = static_cast<float const*>(mRows.get());
    std::copy(mManifest.mean.begin(), mManifest.mean.end(), call.mean);
    std::copy(mManifest.std.begin(), mManifest.std.end(), call.std);
    call.rgb_output = mManifest.rgb ? 1 : 0;
    call.format = LZU_F32_LINEAR;
    call.output = static_cast<char*>(mImage.memory.get())
        + index * (mImage.tensor.bytes() / static_cast<std::size_t>(mManifest.batch));
    launched(lzu_zoom_camera(&call, mSession.stream()), "lzu_zoom_camera");
}

} // namespace lzu::sample
