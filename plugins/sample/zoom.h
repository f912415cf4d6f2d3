// From camera frames to the engine's input `image`, by lzu_zoom_camera.
#pragma once

#include "manifest.h"
#include "session.h"
#include "warp.h"

namespace lzu::sample
{

class Zoom
{
public:
    // Copies the warp's tables; throws Error if the kernel cannot do this bundle's zoom.
    Zoom(Manifest const& manifest, Warp const& warp, Session& session);

    // Copies a frame (source height x source width x 3, BGR) and enqueues its zoom into image `number` of the batch.
    void enqueue(uint8_t const* frame, int32_t number);

private:
    Manifest const& mManifest;
    Warp const& mWarp;
    Session& mSession;
    Bound const& mImage;
    Memory mFrames;
    Memory mRows;
    Memory mCols;
    bool mBilinear = false; // each pixel samples four of the frame
};

} // namespace lzu::sample
