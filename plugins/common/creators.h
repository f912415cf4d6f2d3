// The creators of the library's plugins. Each is defined beside its plugin and lives as long as the library.
#pragma once

#include <NvInferRuntime.h>

namespace lzu
{

nvinfer1::IPluginCreatorInterface* boxKnotsCreator();
nvinfer1::IPluginCreatorInterface* invertWarpCreator();
nvinfer1::IPluginCreatorInterface* separableUnzoomCreator();
nvinfer1::IPluginCreatorInterface* separableZoomCreator();

} // namespace lzu
