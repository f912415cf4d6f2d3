// The two functions by which TensorRT finds the plugins of a library that it loads.
#include "box_knots/box_knots_plugin.h"
#include "invert_warp/invert_warp_plugin.h"
#include "kernels/lzu_kernels.h"
#include "separable_unzoom/separable_unzoom_plugin.h"
#include "separable_zoom/separable_zoom_plugin.h"

static_assert(lzu::kVERSION[0] - '0' == LZU_PLUGINS_VERSION && lzu::kVERSION[1] == '\0', "one version everywhere");

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    static lzu::Creator<lzu::SeparableUnzoomPlugin> sUnzoom;
    static lzu::Creator<lzu::SeparableZoomPlugin> sZoom;
    static lzu::Creator<lzu::BoxKnotsPlugin> sBoxKnots;
    static lzu::Creator<lzu::InvertWarpPlugin> sInvertWarp;
    static nvinfer1::IPluginCreatorInterface* const sCreators[] = {&sUnzoom, &sZoom, &sBoxKnots, &sInvertWarp};
    count = static_cast<int32_t>(sizeof sCreators / sizeof sCreators[0]);
    return sCreators;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    lzu::setLogger(finder);
}
